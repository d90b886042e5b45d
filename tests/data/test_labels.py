"""Label tables as people have them: separators, encodings, missing marks, classes and numbers.

Names may be written otherwise. What is right is written out by hand here; `test_label_fuzz` holds the reader
against pandas.
"""

import pytest
from support.label_store import ABC, LabelStore, read, refused, told, values

from pdr_jax.data import label_files, labels, tables
from pdr_jax.errors import UserError

# ------------------------------------------------------------------------------------ separators and
# encodings


@pytest.mark.parametrize(
  ("separator", "word"), [(";", "semicolon"), ("\t", "tab"), ("|", "|"), (" ", "space")]
)
def test_separators_are_found_and_said(separator, word):
  rows = ["file,mood,age", "a.png,sad,3", "b.png,happy,4", "c.png,sad,5"]
  parsed = read("\n".join(rows).replace(",", separator))
  assert values(parsed, "mood") == ["sad", "happy", "sad"] and values(parsed, "age") == [3, 4, 5]
  assert f"separated by {word}" in told(parsed)
  assert "separated" not in told(read("\n".join(rows)))


def test_decimal_commas_and_quotes():
  parsed = read('file;x;"what; it is"\na.png;-1,5;"one; two"\nb.png;2;"say ""so"""\nc.png;,25;y\n')
  assert values(parsed, "x") == [-1.5, 2, 0.25] and "decimal comma" in told(parsed)
  assert values(parsed, "what; it is") == ["one; two", 'say "so"', "y"]
  assert values(read('file,x\na.png,"1,5"\nb.png,2\nc.png,3\n'), "x") == [1.5, 2, 3]


def test_a_comma_in_names_does_not_make_a_separator():
  parsed = read("file;who\nSmith, J.png;Smith, J\nLee, K.png;Lee, K\n", ["Smith, J.png", "Lee, K.png"])
  assert values(parsed, "who") == ["Smith, J", "Lee, K"]


@pytest.mark.parametrize(
  ("encoding", "said"),
  [
    ("utf-8", ""),
    ("utf-8-sig", ""),
    ("utf-16", "UTF-16"),
    ("utf-16-le", "UTF-16"),
    ("utf-16-be", "UTF-16"),
    ("latin-1", "Latin-1"),
    ("cp1252", "Windows-1252"),
  ],
)
def test_encodings(encoding, said):
  word = "fröhlich€" if encoding == "cp1252" else "fröhlich"
  parsed = read(f"file,mood\nä.png,{word}\nb.png,müde\n".encode(encoding), ["ä.png", "b.png"])
  assert values(parsed, "mood") == [word, "müde"]
  assert said in told(parsed) and (said or "(" not in told(parsed).splitlines()[0])


def test_line_ends_blank_lines_and_a_last_separator():
  for end in ("\r\n", "\r", "\n"):
    parsed = read(end.join(["file,mood,", "", "a.png,sad,", "   ", "b.png,happy,", ",,", "  ,", ""]))
    assert list(parsed.columns) == ["mood"] and values(parsed, "mood") == ["sad", "happy", None]


# ------------------------------------------------------------------------------------ missing, classes,
# numbers


@pytest.mark.parametrize(
  "mark", ["", "NA", "nan", "NaN", "null", "NULL", "?", "None", "<NA>", "N/A", "#N/A", "n/a"]
)
def test_missing_is_missing_whatever_the_column(mark):
  parsed = read(f"file,who,x,mood\na.png,2,1.5,sad\nb.png,{mark},{mark},{mark}\nc.png,0,-1,NAs\n")
  assert values(parsed, "who") == ["2", None, "0"]
  assert values(parsed, "x") == [1.5, None, -1]
  assert values(parsed, "mood") == ["sad", None, "NAs"]
  assert f"missing 1 ({mark or 'empty'} 1)" in told(parsed)
  arrays = labels.arrays(parsed, [1, 2])
  assert arrays["missing/who"].tolist() == arrays["missing/x"].tolist() == [True, False]


def test_nothing_missing_has_no_mask():
  assert set(labels.arrays(read("file,x\na.png,1\nb.png,2\nc.png,1\n"), [0])) == {"label/x"}


def test_a_picture_without_a_row_is_missing_and_counted():
  parsed = read("file,who\na.png,1\nc.png,2\nd.png,7\n")
  assert values(parsed, "who") == ["1", None, "2"] and parsed.columns["who"].values[[0, 2]].tolist() == [0, 1]
  assert "1 rows without an image (d.png); 1 images without a row (b.png)" in told(parsed)


def test_whole_numbers_as_pandas_writes_them_with_a_hole():
  parsed = read("file,who\na.png,1.0\nb.png,\nc.png,10.0\n")
  assert values(parsed, "who") == ["1", None, "10"] and parsed.columns["who"].kind == labels.IDENTITY


def test_class_numbers_have_names_whatever_their_size():
  ids = ["12345678901234567", "12345678901234568", "1234567890"]
  parsed = read(
    "file,zip,id,id2\n"
    + "".join(
      f"{n},{z},{i},{k}\n"
      for n, z, i, k in zip(
        ABC, ("01234", "90210", "01234"), ids, (9007199254740993, 9007199254740992, -3), strict=True
      )
    )
  )
  assert values(parsed, "zip") == ["01234", "90210", "01234"]
  assert parsed.columns["zip"].values.tolist() == [0, 1, 0]
  assert values(parsed, "id") == ids and parsed.columns["id"].classes == (ids[2], ids[0], ids[1])
  assert parsed.columns["id2"].classes == ("-3", "9007199254740992", "9007199254740993")
  assert parsed.columns["id"].values.max() == 2  # nothing grows with the numbers


def test_minus_one_is_a_value():
  parsed = read("file,side,smiling,temperature,x\na.png,-1,-1,-42,-1.0\nb.png,0,1,-1,-1.5\nc.png,1,1,7,\n")
  assert parsed.columns["side"].classes == ("-1", "0", "1") and values(parsed, "side") == ["-1", "0", "1"]
  assert parsed.columns["smiling"].classes == ("-1", "1") and values(parsed, "smiling") == ["-1", "1", "1"]
  assert values(parsed, "temperature") == [-42, -1, 7] and values(parsed, "x") == [-1, -1.5, None]
  keys = {"label/side", "label/smiling", "label/temperature", "label/x", "missing/x"}
  assert set(labels.arrays(parsed, [0])) == keys


def test_classes_are_in_the_order_of_numbers_or_names():
  parsed = read("file,level,word,mixed\na.png,10,b,10\nb.png,9,a,9\nc.png,9,b,x\n")
  assert parsed.columns["level"].classes == ("9", "10") and parsed.columns["word"].classes == ("a", "b")
  assert parsed.columns["mixed"].classes == ("10", "9", "x")


def test_a_guess_is_said_and_can_be_changed():
  names = [f"{i:02}.png" for i in range(40)]
  rows = [f"{name},{i + 20},{i},{3 * i}" for i, name in enumerate(names)]
  table = "\n".join(["file,age,height_group,reading", *rows])
  parsed = read(table, names)
  kinds = [parsed.columns[name].kind for name in ("age", "height_group", "reading")]
  assert kinds == ["numbers", "classes", "classes"]
  words = "whole numbers, taken for numbers: age; --config.data.label_kinds=age:classes changes"
  assert words in told(parsed)
  assert "taken for classes: reading; --config.data.label_kinds=reading:numbers changes that" in told(parsed)
  changed = read(table, names, labels.read_kinds("age:classes, reading:numbers"))
  assert changed.columns["age"].classes[0] == "20" and values(changed, "reading")[2] == 6.0
  assert "changes that" not in told(changed)


def test_kinds_that_cannot_be_are_refused():
  table = "file,mood\na.png,sad\n"
  refused("column 'mood' shall hold numbers .* but holds 'sad'", table, kinds={"mood": "numbers"})
  refused("label_kinds=moods: no column .* there are: mood", table, kinds={"moods": "numbers"})
  refused("column 'x' holds inf, no finite number", "file,x\na.png,1.5\nb.png,inf\n")
  refused("too large for 64 bits", "file,x\na.png,1.5\nb.png,1e999\n")
  with pytest.raises(UserError, match=r"'age=numbers' is not COLUMN:KIND"):
    labels.read_kinds("age=numbers")


def test_a_column_without_a_value_is_left_out_and_said():
  parsed = read("file,x,nothing\na.png,1,\nb.png,2,NA\n")
  assert list(parsed.columns) == ["x"] and "columns without a value are left out: nothing" in told(parsed)


def test_other_digits_and_words_are_no_numbers():
  parsed = read("file,x,y\na.png,1_000,１２\nb.png,0x10,3\nc.png,2,4\n")
  assert parsed.columns["x"].kind == parsed.columns["y"].kind == "classes"
  assert "１２" in parsed.columns["y"].classes


# ------------------------------------------------------------------------------------ names of pictures


@pytest.mark.parametrize(
  ("rows", "names", "way"),
  [
    (["./x\\a.png", "x/b.png"], ["x/a.png", "x/b.png"], ""),
    (["a", "b"], ["a.png", "b.png"], "without suffix"),
    (["a.jpg", "b.jpg"], ["a.png", "b.png"], "without suffix"),
    (["A.PNG", "b.png"], ["a.png", "B.png"], "in another case"),
    (["a.png", "b.png"], ["faces/x/a.png", "faces/y/b.png"], "by the end of the path"),
    (["/home/me/faces/a.png", "C:\\me\\b.png"], ["a.png", "b.png"], "by the path after a folder"),
    (["/me/img/a.png", "/me/img/b.png"], ["unpacked/img/a.png", "unpacked/img/b.png"], "by the path after"),
    (["me/A", "me/B"], ["a.png", "b.png"], "by the path after a folder, in another case without suffix"),
  ],
)
def test_names_that_are_written_otherwise(rows, names, way):
  parsed = read("file,n\n" + "".join(f"{row},{i}\n" for i, row in enumerate(rows)), names)
  assert values(parsed, "n") == ["0", "1"] and way in told(parsed)


def test_only_what_is_unambiguous_is_matched():
  parsed = read("file,n\na.png,1\nz.png,2\n", ["x/a.png", "y/a.png", "z.png"])
  assert values(parsed, "n") == [None, None, "2"]
  assert "1 of these rows could mean several images" in told(parsed)
  parsed = read("file,n\nA.png,1\nAA.png,2\naa.png,3\nb,4\n", ["a.png", "aa.png", "b.png", "b.jpg"])
  # The exact name is aa.png's; two pictures are called b.
  assert values(parsed, "n") == ["1", "3", None, None]
  parsed = read("file,n\ntrain/a.png,1\ntest/b.png,2\n", ["test/a.png", "test/b.png"])
  assert values(parsed, "n") == [None, "2"]  # the picture of another folder is another picture


def test_the_column_of_names_need_not_be_the_first():
  parsed = read(",image,mood\n0,a.png,sad\n1,b.png,happy\n2,c.png,sad\n")  # an index, as pandas writes it
  assert list(parsed.columns) == ["mood"] and values(parsed, "mood") == ["sad", "happy", "sad"]
  assert "names in column 'image'" in told(parsed)
  numbered = read("file,level\nx0.png,0\nx1.png,1\nx2.png,2\n", ["0.png", "1.png", "x0.png", "x1.png"])
  assert values(numbered, "level") == [None, None, "0", "1"]  # class numbers are no names


@pytest.mark.parametrize("table", [
  ",file,age\n{}", "row,image,age\n{}", "id,file,age\n{}", "subject,photo_file,age\n{}", "{}",
])
def test_numbers_of_rows_and_people_are_not_taken_for_names(table):
  def row(i, name):  # the age is the picture's own number and a half
    number = name.removesuffix(".png")
    return f"{i},{number if 'image' in table else name},{number}.5\n"

  pictures = [f"{i}.png" for i in range(12)]
  rows = table.format("".join(row(i, name) for i, name in enumerate(sorted(pictures))))
  column = "age" if "age" in table else "label"
  assert values(read(rows, pictures), column) == [i + 0.5 for i in range(12)]
  some = [*pictures[:3], "10.png", "11.png"]  # the others' files are missing
  assert values(read(rows, some), column) == [0.5, 1.5, 2.5, 10.5, 11.5]


def test_no_header():
  parsed = read("a.png,1.5,sad\nb.png,2.5,happy\n")
  assert values(parsed, "label_1") == [1.5, 2.5, None] and values(parsed, "label_2") == ["sad", "happy", None]
  assert values(read("a 1\nb 2\nc 1\n"), "label") == ["1", "2", "1"]


def test_two_rows_for_one_picture():
  table = "file,mood\na.png,sad\nb.png,x\na.png,happy\n"
  refused(r"rows 2 and 4: a\.png has mood 'sad' and 'happy'; keep one row", table)
  parsed = read("file,mood,x\na.png,sad,\nb.png,x,2\na.png,sad,3\n")
  assert values(parsed, "mood") == ["sad", "x", None] and values(parsed, "x") == [3, 2, None]


def test_tables_in_several_folders_count_from_their_own():
  store = LabelStore(
    ["in/train/1.png", "in/test/1.png"],
    {"in/train/labels.csv": "file,mood\n1.png,sad\n", "in/test/labels.csv": "file,mood\n1.png,happy\n"},
  )
  parsed = label_files.read(store, {})
  assert values(parsed, "mood") == ["sad", "happy"]
  store = LabelStore(["in/1.png", "in/2.png"], {"in/labels.csv": "file,n\n1.png,5\n2.png,6\n"})
  wrapped = label_files.read(store, {})
  assert values(wrapped, "n") == ["5", "6"]


def test_what_is_not_a_table():
  refused("labels.csv is empty", "\n  \n")
  refused("row 3: 2 cells, the header has 3", "file;a;b\na.png;1;2\nb.png;1\n")
  refused("a header and no row", "file,mood\n")
  refused("a single column", "a.png\nb.png\n")
  refused("two columns have the same name 'a'", "file,a,a\na.png,1,2\n")
  refused("a name of 300 characters; shorten it", f"file,{'n' * 300}\na.png,1\n")
  refused("names none of the images: .*'nobody.png'.* 'a.png'", "file,a\nnobody.png,0\n")
  refused("is no text", b"file,a\n\0\0\1a.png,1\n")
  refused("row 3: a quote is opened and never closed", 'file,a\na.png,"1\nb.png,2\n')


def test_other_tables_are_said():
  store = LabelStore(ABC, {"train.csv": "x", "readme.txt": "x"})
  assert told(label_files.read(store, {})) == (
    "2 tables and texts are not read: train.csv, readme.txt (a table of labels is a text called labels.csv)"
  )


def test_many_attributes_share_a_line():
  header = ",".join(f"is_{i}" for i in range(12))
  parsed = read(
    f"file,{header}\n"
    + "".join(f"{name}{',-1' * 6}{',1' * 6}\n" for name in ABC[:1])
    + "".join(f"{name}{',1' * 6}{',-1' * 6}\n" for name in ABC[1:])
  )
  assert "12 columns of the classes -1 and 1: is_0, is_1, is_2, ..." in told(parsed)


def test_text_that_is_read_is_what_was_written():
  text, encoding = tables.decode_text("größe €".encode("cp1252"), "x")
  assert text == "größe €" and encoding == "Windows-1252"


def test_a_number_of_thousands_of_digits_is_refused_by_name():
  refused("column 'n' holds a number that is too large for 64 bits", f"file,n\na.png,{'9' * 5000}\nb.png,1\n")
