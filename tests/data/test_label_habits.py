"""Habits beside the table itself: lines above it, other formats, folders, columns that say other things.

Nothing of it may be ignored without a word; see `test_labels` for the table.
"""

import numpy as np
import pytest
from support.label_store import LabelStore

from pdr_jax.config import base
from pdr_jax.data import clip_folder, label_files, labels, splits, stores
from pdr_jax.errors import UserError

ABC = ["a.png", "b.png", "c.png"]


def read(table, names=ABC, name="labels.csv", kinds=None):
  return label_files.read(LabelStore(names, {name: table}), kinds or {})


def values(found, name):
  return labels.plain(found.columns[name])


def told(found):
  return "\n".join(found.notes)


# ------------------------------------------------------------------------------------ lines above the header


@pytest.mark.parametrize(
  ("above", "separator"),
  [
    ("sep=;", ";"),
    ("sep=,", ","),
    ("# drawn by me", ","),
    ("# a, comment, with, commas", ","),
    ("# drawn by me\n# in 2026", ";"),
    ("My labels;;", ";"),
    ("My labels", ";"),
    ("My labels\nof summer,,", ","),
    ("3", "\t"),
  ],
)
def test_lines_above_the_header_are_left_out_and_said(above, separator):
  rows = "file,mood,x\na.png,sad,1.5\nb.png,happy,2.5\nc.png,sad,3.5\n".replace(",", separator)
  found = read(f"{above}\n{rows}")
  assert values(found, "mood") == ["sad", "happy", "sad"] and values(found, "x") == [1.5, 2.5, 3.5]
  assert "without the first lines, which are no table: " in told(found)
  assert "first lines" not in told(read(rows))


@pytest.mark.parametrize("above", ["", "sep=,\n"])
def test_a_row_of_a_picture_is_no_line_above(above):
  found = read(f"{above}a.png,,\nb.png,happy,2.5\nc.png,sad,3.5\n")
  assert values(found, "label_1") == [None, "happy", "sad"] and values(found, "label_2") == [None, 2.5, 3.5]
  half_titled = read("file,,\na.png,sad,1.5\nb.png,happy,2.5\n")
  assert list(half_titled.columns) == ["column_2", "column_3"]
  hashed = read("#file,mood\na.png,sad\n#b.png,happy\n", ["a.png", "#b.png"])
  assert values(hashed, "mood") == ["sad", "happy"]


# ------------------------------------------------------------------------------------ columns


def test_few_words_in_a_column_of_numbers_are_remarked_on():
  rows = ["0.5", "#VALUE!", "1.25", "2.0"]
  names = [f"{i}.png" for i in range(4)]
  found = read("file,x\n" + "".join(f"{n},{x}\n" for n, x in zip(names, rows, strict=True)), names)
  assert found.columns["x"].kind == "classes"
  assert "classes because of #VALUE!; the rest are numbers: empty those cells" in told(found)
  with pytest.raises(UserError, match=r"column 'x' shall hold numbers .* but holds '#VALUE!'"):
    read("file,x\na.png,1.5\nb.png,#VALUE!\n", kinds={"x": "numbers"})
  for words in (["a", "b", "c", "d"], ["1", "a", "b", "c"], ["1", "1", "1", "x"]):
    plain = read("file,x\n" + "".join(f"{n},{x}\n" for n, x in zip(names, words, strict=True)), names)
    assert "the rest are numbers" not in told(plain)


@pytest.mark.parametrize("cells", [["20 years", "7 years"], ["10%", "5 %"], ["1.000,5", "3"], ["−1.5", "2"]])
def test_numbers_that_are_not_written_plainly_are_remarked_on(cells):
  found = read(f"file;age\na.png;{cells[0]}\nb.png;{cells[1]}\n", ["a.png", "b.png"])
  assert values(found, "age") == cells
  assert f"classes because of how they are written ({cells[0]}): write plain numbers" in told(found)


@pytest.mark.parametrize("cells", [["3 cars", "4 men"], ["2024-01-01", "2024-01-02"], ["0x1", "0x2"]])
def test_names_with_digits_are_classes_without_a_remark(cells):
  assert "how they are written" not in told(read(f"file,x\na.png,{cells[0]}\nb.png,{cells[1]}\n"))


def test_truth_values_are_two_classes_and_other_names_that_differ_in_case_are_remarked_on():
  names = ["a.png", "b.png", "c.png", "d.png"]
  rows = zip(names, ("TRUE", "true", "False", ""), ("Sad", "sad", "glad", "sad"), strict=True)
  found = read("file,ok,mood\n" + "".join(f"{','.join(row)}\n" for row in rows), names)
  assert values(found, "ok") == ["True", "True", "False", None]
  assert values(found, "mood") == ["Sad", "sad", "glad", "sad"]
  assert "Sad and sad differ in case alone: they are two classes" in told(found)


@pytest.mark.parametrize(
  ("cells", "wanted"),
  [
    (("True", "true", "TRUE"), ["True"] * 3),
    (("True", "true", ""), ["True", "True", None]),
    (("FALSE", "false", "?"), ["False", "False", None]),
    (("true", "false", "true"), ["true", "false", "true"]),  # each has one spelling, which is its name
    (("TRUE", "False", "TRUE"), ["TRUE", "False", "TRUE"]),
  ],
)
def test_spellings_of_one_truth_value_are_one_class(cells, wanted):
  found = read("file,ok\n" + "".join(f"{n},{cell}\n" for n, cell in zip(ABC, cells, strict=True)))
  assert values(found, "ok") == wanted and "differ in case" not in told(found)
  assert len(found.columns["ok"].classes) == len(set(wanted) - {None})


def test_columns_that_nobody_has_titled_give_no_hint_of_their_kind():
  names = [f"{i:02}.png" for i in range(30)]
  found = read("".join(f"{name},{i + 20}\n" for i, name in enumerate(names)), names)
  assert "taken for classes: label; --config.data.label_kinds=label:numbers changes that" in told(found)
  titled = read("file,label\n" + "".join(f"{name},{i + 20}\n" for i, name in enumerate(names)), names)
  assert "changes that" not in told(titled)


@pytest.mark.parametrize("name", ["a/b", "/", "_mask", "_x"])
def test_column_names_that_results_cannot_have_are_refused(name):
  with pytest.raises(UserError, match=r"labels\.csv: the column name .* has a / or begins with _; rename it"):
    read(f"file,{name}\na.png,1\n")


def test_columns_of_file_names_are_left_out_and_said():
  table = "file,mask,array,mood\n" + "".join(f"{n},masks/{n},{n[0]}.npy,{n[0]}\n" for n in ABC)
  found = read(table, [*ABC, "masks/a.png"])
  assert list(found.columns) == ["mood"]
  assert "columns of file names are left out: mask, array (pictures that they name are read" in told(found)
  asked = read(table, kinds={"mask": "classes"})
  assert asked.columns["mask"].classes == ("masks/a.png", "masks/b.png", "masks/c.png")
  shared = read("file,background\na.png,sky.jpg\nb.png,sky.jpg\nc.png,sea.jpg\n")
  assert values(shared, "background") == ["sky.jpg", "sky.jpg", "sea.jpg"]


# ------------------------------------------------------------------------------------ parts


def split(found, names, **data):
  config = base()
  config.data.update(train_examples=0, val_examples=0, **data)
  return splits.choose(config.data, names, found)


def test_words_to_paste_are_quoted_where_a_column_has_spaces():
  names = [f"{i:02}.png" for i in range(30)]
  rows = [f"{name},{i % 3},{i + 20}" for i, name in enumerate(names)]
  found = read("\n".join(["file,my split,my age", *rows]), names)
  assert "'--config.data.label_kinds=my age:classes' changes that" in told(found)
  assert "'--config.data.split_by=my split' splits by it" in split(found, names, split_by="seed").note
  with pytest.raises(UserError, match=r"write '--config\.data\.split_by=my split:0=train,1=valid"):
    split(found, names, split_by="my split")


def test_a_column_of_parts_that_is_not_used_is_pointed_to():
  names = [f"{i}.png" for i in range(9)]

  def note(title, words, split_by="seed"):
    rows = "".join(f"{name},{words[i % len(words)]},{i}\n" for i, name in enumerate(names))
    return split(read(f"file,{title},who\n{rows}", names), names, split_by=split_by).note

  advice = "the split is random; column use has test, train, val: --config.data.split_by=use splits by it"
  assert note("use", ["train", "val", "test"]) == advice
  assert "--config.data.split_by=partition" in note("partition", ["0", "1", "2"])
  assert "--config.data.split_by=use" in note("use", ["Training", "PublicTest", "PrivateTest"])
  assert "random" not in note("use", ["train", "val", "test"], "use")
  for title, words in (("mood", ["0", "1", "2"]), ("vehicle", ["train", "bus"]), ("part", ["0", "1", "7"])):
    assert note(title, words) == ""


def test_folders_called_train_and_test_are_parts_beside_a_table_too():
  names = [f"{part}/{i}.png" for part in ("train", "test") for i in range(4)]
  found = read("file,x\n" + "".join(f"{name},{i}.5\n" for i, name in enumerate(names)), names)
  assert found.parts == ("train",) * 4 + ("test",) * 4 and list(found.columns) == ["x"]
  chosen = split(found, names, split_by="seed")
  assert sorted([*chosen.train, *chosen.validation]) == [0, 1, 2, 3] and sorted(chosen.test) == [4, 5, 6, 7]
  assert "folders are the published split: test is test, train is train" in told(found)


def test_folders_of_classes_beside_a_table_are_said():
  names = ["cat/1.png", "cat/2.png", "dog/1.png"]
  found = read("file,x\n" + "".join(f"{name},0.5\n" for name in names), names)
  assert list(found.columns) == ["x"]
  assert "the folders (cat, dog) are not taken for classes, because there is a table" in told(found)


def test_folders_that_give_no_classes_say_why():
  stray = labels.from_folders(["cat/1.png", "dog/1.png", "2.png", "3.png"])
  assert not stray.columns and "no classes: 2 images lie in none, such as 2.png" in told(stray)
  assert labels.from_folders(["1.png", "2.png"]).notes == ()


@pytest.mark.parametrize("words", [("val", "test"), ("dev", "eval", "test"), ("PublicTest", "PrivateTest")])
def test_parts_without_train_are_refused(words):
  meant = {labels.part_of(word) for word in words}
  assert meant == {"validation", "test"}
  with pytest.raises(UserError, match="and none is train: name one of them"):
    labels.from_folders([f"{word}/cat/{i}.png" for word in words for i in range(2)])


def test_train_and_eval_are_parts():
  found = labels.from_folders(["train/cat/1.png", "eval/dog/1.png"])
  assert found.parts == ("train", "validation") and found.columns["class"].classes == ("cat", "dog")


# ------------------------------------------------------------------------------------ other files


@pytest.mark.parametrize("name", ["labels.xlsx", "labels.json", "labels.csv.gz", "all.parquet"])
def test_tables_of_another_format_are_named(tmp_path, name):
  for file in (*ABC, name):
    (tmp_path / file).write_bytes(b"x")
  found = label_files.read(stores.Folder(str(tmp_path)), {})
  assert told(found) == (
    f"1 tables and texts are not read: {name} (a table of labels is a text called labels.csv)"
  )


def test_a_table_beside_the_folder_is_pointed_to(tmp_path):
  folder = tmp_path / "faces"
  folder.mkdir()
  for file in ABC:
    (folder / file).write_bytes(b"x")
  assert told(label_files.read(stores.Folder(str(folder)), {})) == ""
  (tmp_path / "notes.txt").write_text("x")  # of something else
  assert told(label_files.read(stores.Folder(f"{folder}/"), {})) == ""
  for name in ("labels.csv", "faces.csv"):
    path = tmp_path / name
    path.write_text("file,mood\na.png,sad\n")
    found = label_files.read(stores.Folder(f"{folder}/"), {})
    assert f"and not read: {path} (put it inside, called labels.csv)" in told(found)
    path.unlink()


def test_frames_in_one_folder_are_told_what_to_do(tmp_path):
  from PIL import Image

  for i in range(6):
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / f"{i}.png")
  config = base()
  config.data.update(path=str(tmp_path), frames=2, crop=())
  with pytest.raises(UserError, match="put each into a folder of its own, or name them in the column"):
    clip_folder.open_clip_folder(config)


# ------------------------------------------------------------------------------------ small things


def test_marks_of_bytes_spaces_and_cells_after_the_last_column():
  marked = read("a.png,sad\nb.png,happy\nc.png,sad\n".encode("utf-8-sig"))
  assert values(marked, "label") == ["sad", "happy", "sad"] and "no header" in told(marked)
  spaced = read("file , mood \na.png , sad \nb.png ,happy\n")
  assert list(spaced.columns) == ["mood"] and values(spaced, "mood") == ["sad", "happy", None]
  longer = read("file,mood\na.png,sad,\nb.png,happy, ,\nc.png,sad\n")
  assert list(longer.columns) == ["mood"] and values(longer, "mood") == ["sad", "happy", "sad"]


def test_a_title_that_is_also_the_name_of_a_picture_is_a_title():
  found = read("file,n\nfile,1\nb,2\n", ["file.png", "b.png"])
  assert values(found, "n") == ["1", "2"] and "no header" not in told(found)


def test_the_separator_is_the_one_by_which_pictures_are_named():
  names = ["a 1.png", "b 2.png"]
  found = read("a 1.png|x y;z\nb 2.png|y z;x\n", names)
  assert values(found, "label") == ["x y;z", "y z;x"] and "separated by |" in told(found)
  spaced = read("a.png 1;2\nb.png 3;4\n", ["a.png", "b.png"])
  assert values(spaced, "label") == ["1;2", "3;4"] and "separated by space" in told(spaced)


def test_long_numbers_and_decimals_are_classes_in_their_order():
  ids = ["-12345678901234568", "-12345678901234567", "9"]  # floats do not tell the first two apart
  assert read("file,id\n" + "".join(f"{n},{i}\n" for n, i in zip(ABC, ids[::-1], strict=True))).columns[
    "id"
  ].classes == tuple(ids)
  decimals = read("file,x\na.png,10.5\nb.png,9.5\nc.png,10.25\n", kinds={"x": "classes"})
  assert decimals.columns["x"].classes == ("9.5", "10.25", "10.5")


def test_whole_numbers_below_minus_one_are_measured():
  found = read("file,lum\na.png,-42\nb.png,0\nc.png,1\n")
  assert values(found, "lum") == [-42, 0, 1] and "taken for numbers: lum" in told(found)


def test_many_words_among_numbers_are_classes_without_a_remark():
  names = [f"{i}.png" for i in range(10)]
  cells = ["1.5", "2.5", "3.5", "4.5", "5.5", "6.5", "a", "b", "c", "d"]
  rows = "".join(f"{name},{cell}\n" for name, cell in zip(names, cells, strict=True))
  assert "the rest are numbers" not in told(read(f"file,x\n{rows}", names))
  three = rows.replace(",d\n", ",7.5\n")
  assert "classes because of a, b, c; the rest are numbers" in told(read(f"file,x\n{three}", names))


def test_a_kind_that_does_not_exist_is_refused():
  with pytest.raises(UserError, match="'age:number' is not COLUMN:KIND with a kind of classes"):
    labels.read_kinds("age:number")


@pytest.mark.parametrize("rows", [("sad", "NA"), ("NA", "sad"), ("sad", ""), ("sad", "sad")])
def test_a_second_row_that_says_nothing_contradicts_nothing(rows):
  found = read("file,mood\n" + "".join(f"a.png,{word}\n" for word in rows) + "b.png,happy\n")
  assert values(found, "mood") == ["sad", "happy", None]


def test_names_in_both_unicode_forms_and_of_both_cases_without_suffix():
  composed, decomposed = "caf\u00e9.png", "cafe\u0301.png"
  for row, name in ((composed, decomposed), (decomposed, composed)):
    assert values(read(f"file,n\n{row},1\nb.png,2\n", [name, "b.png"]), "n") == ["1", "2"]
  found = read("file,n\na,1\nA,2\n", ["a.png", "A.png"])
  assert values(found, "n") == ["1", "2"] and "2 without suffix" in told(found)


def test_another_number_is_no_part_of_celeba():
  with pytest.raises(UserError, match="list_eval_partition holds '3', and only 0, 1 and 2 are parts"):
    read("a.png 0\nb.png 3\nc.png 1\n", name="list_eval_partition.txt")


def test_case_counts_less_than_the_suffix_and_two_rows_for_one_picture_are_ambiguous():
  found = read("file,n\nA.PNG,1\n", ["a.png", "a.jpg"])
  assert values(found, "n") == ["1", None] and "in another case)" in told(found)
  found = read("file,n\nx/a.png,1\ny/a.png,2\nb.png,3\n", ["a.png", "b.png"])
  assert values(found, "n") == [None, "3"] and "2 of these rows could mean several images" in told(found)
