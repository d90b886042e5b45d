"""Folders and zips of images: labels, splits, hostile files and every error."""

import os
import pickle
import zipfile

import numpy as np
import pytest
from support.image_files import config, encoded, everything, picture, write, write_zip

from pdr_jax.data import clip_folder, dataset, decode, image_folder, labels, pipeline, splits
from pdr_jax.errors import UserError

# --- folders and zips


def test_zip_and_folder_are_equal(tmp_path):
  files = {f"a/{i}.png": encoded(picture(i)) for i in range(20)} | {
    "labels.csv": b"file,who\n" + b"".join(b"a/%d.png,%d\n" % (i, i % 7) for i in range(20))
  }
  folder = image_folder.open_image_folder(config(write(str(tmp_path / "folder"), files)))
  os.mkdir(tmp_path / "zipped")
  write(str(tmp_path / "zipped"), {"labels.csv": files["labels.csv"]})
  zipped = write_zip(
    str(tmp_path / "zipped" / "images.zip"),
    {k: v for k, v in files.items() if k != "labels.csv"},
    zipfile.ZIP_DEFLATED,
  )
  inside = write_zip(str(tmp_path / "all.zip"), files)
  expected = everything(folder)
  assert sorted(expected) == ["image", "label/who"] and expected["label/who"].dtype == np.int32
  for path in (zipped, tmp_path / "zipped", inside):
    actual = everything(image_folder.open_image_folder(config(path)))
    assert actual.keys() == expected.keys()
    for key in expected:
      np.testing.assert_array_equal(actual[key], expected[key])
  for image, who in zip(
    expected["image"], expected["label/who"], strict=True
  ):  # each label is with its own image
    assert who == next(i for i in range(20) if (picture(i) == image).all()) % 7


def test_bad_files_among_good_ones_are_skipped_by_name(tmp_path):
  files = {f"{i}.png": encoded(picture(i)) for i in range(12)}
  files |= {
    "broken.jpg": encoded(picture(0), "JPEG")[:250],
    "tiny.png": encoded(picture(0, 8, 8)),
    "text.png": b"hello",
    "empty.bmp": b"",
    "fünf Köpfe 顔.PNG": encoded(picture(99)),
    "notes.txt": b"not counted",
    ".hidden.png": b"",
    "deep/er/x.webp": b"RIFF",
  }
  for lazily in (False, True):
    data = (
      image_folder.open_image_folder(config(write(str(tmp_path), files)))
      if not lazily
      else opened_lazily(tmp_path)
    )
    names = {name for name, _ in data.skipped}
    images = everything(data)["image"]
    expected = {"broken.jpg", "tiny.png", "text.png", "empty.bmp", "deep/er/x.webp"}
    assert names == expected and len(data.skipped) == 5
    assert any((image == picture(99)).all() for image in images)  # the name in another alphabet
    assert data.train.in_memory != lazily


def opened_lazily(path, **data):
  limit, dataset.CACHE_LIMIT = dataset.CACHE_LIMIT, 0
  try:
    return image_folder.open_image_folder(config(path, **data))
  finally:
    dataset.CACHE_LIMIT = limit


def test_lazy_split_replaces_what_fails_and_counts_it_once(tmp_path):
  files = {f"{i}.png": encoded(picture(i)) for i in range(10)} | {
    "cut.png": encoded(picture(50))[:-2000]
  }  # its header is fine
  rows = [f"{name},of_{name.removesuffix('.png')}" for name in files]
  files["labels.csv"] = "\n".join(["file,who", *rows]).encode()
  write(str(tmp_path), files)
  data = opened_lazily(tmp_path, val_examples=1)
  assert data.train.size == 10 and not data.skipped and "as they are read" in data.note
  batch = data.train.load(np.arange(10), {"image", "label/who"})
  first = batch["image"]
  who = [data.classes["label/who"][k] for k in batch["label/who"]]
  for image, name in zip(first, who, strict=True):  # the label is that of the picture which is shown
    np.testing.assert_array_equal(image, picture(int(name.removeprefix("of_"))))
  again = data.train.load(np.arange(10), {"image"})["image"]
  np.testing.assert_array_equal(first, again)
  assert [name for name, _ in data.skipped] == ["cut.png"]
  good = [picture(i) for i in range(10)]
  assert all(any((image == other).all() for other in good) for image in first)


def test_large_sets_are_decoded_once_when_first_read(tmp_path, monkeypatch):
  write(str(tmp_path), {f"{i}.png": encoded(picture(i)) for i in range(10)})
  expected = image_folder.open_image_folder(config(tmp_path))
  monkeypatch.setattr(dataset, "EAGER_LIMIT", 9)
  data = image_folder.open_image_folder(config(tmp_path))
  assert not data.train.in_memory
  first = data.train.load(np.arange(5), {"image"})["image"]
  calls, real = [], decode.decode_image
  monkeypatch.setattr(decode, "decode_image", lambda *args: calls.append(1) or real(*args))
  again = pickle.loads(pickle.dumps(data.train.load))  # as Grain's workers get it: without what is kept
  np.testing.assert_array_equal(
    data.train.load(np.arange(9), {"image"})["image"], everything(expected)["image"][:9]
  )
  assert len(calls) == 4
  np.testing.assert_array_equal(first, again(np.arange(5), {"image"})["image"])
  assert len(calls) == 9 and len(pickle.dumps(again)) < 5_000


def test_kept_images_give_the_same_batches_with_a_bad_file_too(tmp_path, monkeypatch):
  files = {f"{i}.png": encoded(picture(i)) for i in range(12)} | {"cut.png": encoded(picture(50))[:-2000]}
  write(str(tmp_path), files)
  settings = config(tmp_path, val_examples=1)
  settings.train.batch_size = 4
  monkeypatch.setattr(dataset, "EAGER_LIMIT", 0)
  actual, real = [], decode.decode_image
  for limit in (0, dataset.CACHE_LIMIT):
    monkeypatch.setattr(dataset, "CACHE_LIMIT", limit)
    pipeline._open.cache_clear()
    iterator = pipeline.train_iterator(settings, {"image": pipeline.published(settings)["image"]})
    images = [next(iterator)["image"] for _ in range(12)]  # four epochs of three batches
    if limit:  # from here on nothing is decoded
      monkeypatch.setattr(decode, "decode_image", None)
    images += [next(iterator)["image"] for _ in range(12)]
    monkeypatch.setattr(decode, "decode_image", real)
    iterator.close()
    actual.append((np.stack(images), list(pipeline.open_dataset(settings).skipped)))
  pipeline._open.cache_clear()
  np.testing.assert_array_equal(actual[0][0], actual[1][0])
  assert actual[0][1] == actual[1][1] and [name for name, _ in actual[0][1]] == ["cut.png"]


def test_names_in_a_zip_lead_nowhere(tmp_path):
  outside = tmp_path / "outside.png"
  path = write_zip(
    str(tmp_path / "evil.zip"),
    {
      "../outside.png": encoded(picture(0)),
      "/etc/x.png": encoded(picture(1)),
      "fine.png": encoded(picture(2)),
      "__MACOSX/._fine.png": b"junk",
    },
  )
  assert everything(image_folder.open_image_folder(config(path)))["image"].shape[0] == 3
  assert not outside.exists()


def test_encrypted_and_damaged_entries_are_skipped(tmp_path):
  path = write_zip(str(tmp_path / "x.zip"), {f"{i}.png": encoded(picture(i)) for i in range(6)})
  data = bytearray(open(path, "rb").read())
  where = data.find(encoded(picture(3)))
  data[where + 500] ^= 255  # the checksum no longer holds
  open(path, "wb").write(data)
  opened = image_folder.open_image_folder(config(path))
  assert [name for name, _ in opened.skipped] == ["3.png"] and opened.train.size + opened.validation.size == 5


def test_a_link_that_points_up_is_followed_once(tmp_path):
  write(str(tmp_path), {f"faces/{i}.png": encoded(picture(i)) for i in range(4)})
  os.symlink(tmp_path, tmp_path / "faces" / "up")
  data = image_folder.open_image_folder(config(tmp_path))
  assert data.train.size + data.validation.size == 4


def test_class_per_folder(tmp_path):
  files = {
    f"set/{name}/{i}.png": encoded(picture(i + 10 * k))
    for k, name in enumerate(("cat", "ant", "7"))
    for i in range(4)
  }
  data = image_folder.open_image_folder(config(write(str(tmp_path), files)))
  assert data.classes == {"label/class": ("7", "ant", "cat")}
  actual = everything(data)
  for image, label in zip(actual["image"], actual["label/class"], strict=True):
    k = next(k for k in range(3) for i in range(4) if (picture(i + 10 * k) == image).all())
    assert label == [2, 1, 0][k]
  assert (
    not labels.from_folders(["x/a.png", "x/b.png"]).columns and not labels.from_folders(["a.png"]).columns
  )


# --- splits


@pytest.mark.parametrize(
  "total, train, val, expected",
  [
    (100, 0, 0, (90, 10)),
    (100, 50, 20, (50, 20)),
    (100, 95, 20, (80, 20)),
    (10, 0, 1000, (5, 5)),
    (5, 0, 0, (4, 1)),
    (4000, 0, 1000, (3000, 1000)),
  ],
)
def test_sizes(total, train, val, expected):
  assert splits.sizes(total, train, val) == expected


def test_split_by_seed_is_stable_when_files_come_and_go():
  names = [f"{i}.png" for i in range(200)]
  train, chosen = splits.by_seed(names, 0, 0, 50)
  assert sorted(train + chosen) == list(range(200)) and len(chosen) == 50
  assert splits.by_seed(names[::-1], 0, 0, 50)[1] == [
    199 - i for i in chosen
  ]  # the order of listing does not matter
  assert {names[i] for i in chosen[:40]} < {names[1:][i] for i in splits.by_seed(names[1:], 0, 0, 50)[1]} | {
    names[0]
  }
  assert splits.by_seed(names, 1, 0, 50)[1] != chosen
  assert abs(np.mean(chosen) - 99.5) < 30  # not a block of neighbours


def test_split_by_label_keeps_values_apart(tmp_path):
  rows = [(f"{i}.png", f"person {i % 9}") for i in range(45)]
  write(str(tmp_path), {name: encoded(picture(i)) for i, (name, _) in enumerate(rows)})
  (tmp_path / "labels.csv").write_text("file,who\n" + "".join(f"{a},{b}\n" for a, b in rows))
  data = image_folder.open_image_folder(config(tmp_path, split_by="who", val_examples=12))
  parts = [
    set(split.load(np.arange(split.size), data.elements)["label/who"].tolist())
    for split in (data.train, data.validation)
  ]
  assert (
    not parts[0] & parts[1] and len(parts[1]) == 3 and data.validation.size == 12 and data.train.size == 30
  )


def test_a_split_column_is_taken_at_its_word():
  values = ["train", "test", "validation", "train", "validation"]
  actual = labels.Labels({"split": labels.column("split", values)})
  chosen = splits.choose(config("", split_by="split").data, list("abcde"), actual)
  assert [sorted(part) for part in chosen[:3]] == [[0, 3], [2, 4], [1]]


# --- clips ---------------------------------------------------------------------


def test_clips_of_folders_and_of_columns(tmp_path):
  names = [f"{folder}/{i}.png" for folder in ("ann", "bob", "cy") for i in (1, 2, 10, 11, 3)]
  pictures = {name: picture(i) for i, name in enumerate(names)}
  write(str(tmp_path), {name: encoded(pixels) for name, pixels in pictures.items()})
  data = clip_folder.open_clip_folder(config(tmp_path, frames=2, val_examples=2))
  assert (data.train.size, data.validation.size) == (4, 2) and data.elements["clip"].shape == (2, 32, 32, 3)
  batch = data.validation.load(np.arange(2), data.elements)
  who = data.classes["label/class"][batch["label/class"][0]]
  shown = {
    tuple(next(n for n, p in pictures.items() if (p == frame).all()) for frame in clip)
    for clip in batch["clip"]
  }
  assert shown == {(f"{who}/1.png", f"{who}/2.png"), (f"{who}/3.png", f"{who}/10.png")}  # 11 is left over
  assert any("6 clips of 2 frames" in line for line in data.report)
  rows = "".join(f"{name},{name[0]},{10 - i % 5},{'' if i == 3 else i % 5}\n" for i, name in enumerate(names))
  write(str(tmp_path), {"labels.csv": f"file,sequence,frame,score\n{rows}".encode()})
  data = clip_folder.open_clip_folder(config(tmp_path, frames=5, val_examples=1))
  assert data.elements["label/score"].shape == (5,) and data.elements["label/sequence"].shape == ()
  batch = data.train.load(np.arange(2), data.elements)
  for clip, scores, gone, sequence in zip(
    batch["clip"], batch["label/score"], batch["missing/score"], batch["label/sequence"], strict=True
  ):
    first = "abc".index(data.classes["label/sequence"][sequence]) * 5
    assert all(
      (frame == picture(first + 4 - t)).all() for t, frame in enumerate(clip)
    )  # the column counts down
    assert [None if lost else int(s) for s, lost in zip(scores, gone, strict=True)] == [
      None if first + i == 3 else i for i in (4, 3, 2, 1, 0)
    ]


# --- what every start says ---------------------------------------------------------------------


def test_the_block_says_what_was_read_and_what_was_not(tmp_path):
  files = {f"{i}.png": encoded(picture(i)) for i in range(12)}
  files |= {"a.heic": b"x", "notes.md": b"x", "sub/readme.txt": b"x", "cut.png": encoded(picture(0))[:200]}
  rows = "".join(f"{i}.png;{'NA' if i == 3 else 'happy' if i % 2 else 'sad'};{i},5\n" for i in range(11))
  files["Labels.CSV"] = f"file;mood;x\n{rows}gone.png;sad;1\n".encode("latin-1")
  settings = config(write(str(tmp_path), files))
  pipeline._open.cache_clear()
  text = pipeline.describe(settings).summary()
  for words in (
    "13 images in",
    "1 pictures of a format that is not read (.heic 1); 1 other files (.md 1)",
    "Labels.CSV (separated by semicolon): 12 rows for 11 images",
    "1 rows without an image (gone.png); 2 images without a row (11.png, cut.png)",
    "mood: 2 classes (happy 4, sad 6); missing 1 (NA 1)",
    "x: numbers from 0.5 to 10.5; decimal comma",
    "1 tables and texts are not read: sub/readme.txt",
    "1 files skipped: cut.png: corrupt",
  ):
    assert words in text, text
  assert text.count("cut.png: corrupt") == 1


def test_the_fingerprint_changes_with_pictures_and_labels_and_with_nothing_else(tmp_path):
  files = {f"{i:02d}.png": encoded(picture(i, 20, 20)) for i in range(8)}
  rows = [f"{i:02d}.png,{('sad', 'happy')[i % 2]}" for i in range(8)]

  def fingerprints(files, rows):
    """Of the folder and of a zip, written anew where something differs."""
    for name, data in (files | {"labels.csv": "\n".join(["file,mood", *rows]).encode()}).items():
      path = tmp_path / "folder" / name
      path.parent.mkdir(exist_ok=True)
      if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
      for name in sorted(os.listdir(tmp_path / "folder")):
        file.write(tmp_path / "folder" / name, name)
    places = tmp_path / "folder", tmp_path / "all.zip"
    return [image_folder.open_image_folder(config(str(place))).fingerprint for place in places]

  first = fingerprints(files, rows)
  assert fingerprints(files, rows) == first
  swapped = fingerprints(files, ["00.png,happy", "01.png,sad", *rows[2:]])  # all counts are as before
  other = fingerprints(files | {"03.png": encoded(picture(9, 20, 20))}, rows)
  for k in range(2):
    assert len({first[k], swapped[k], other[k]}) == 3


def test_a_table_that_lies_beside_the_zip_or_inside_what_it_wraps(tmp_path):
  files = {f"wrapped/in/{i}.png": encoded(picture(i)) for i in range(6)}
  table = b"file,n\n" + b"".join(b"%d.png,%d\n" % (i, i) for i in range(6))
  beside, inside, below = (str(tmp_path / name) for name in ("beside", "inside", "below"))
  for folder in (beside, inside):
    os.mkdir(folder)
  write_zip(f"{beside}/faces.zip", files)
  write(beside, {"labels.csv": table})
  write_zip(f"{inside}/faces.zip", files | {"wrapped/labels.csv": table})
  write(below, files | {"wrapped/in/labels.csv": table})
  for path in (beside, f"{beside}/faces.zip", f"{inside}/faces.zip", below):
    actual = everything(image_folder.open_image_folder(config(path)))
    names = image_folder.open_image_folder(config(path)).classes["label/n"]
    for image, n in zip(actual["image"], actual["label/n"], strict=True):
      assert (picture(int(names[n])) == image).all()


# --- errors


def fails(words, path, **data):
  with pytest.raises(UserError) as caught:
    image_folder.open_image_folder(config(path, **data))
  message = str(caught.value)
  assert "\n" not in message
  for word in words:
    assert word in message, message


def test_errors_are_one_line_and_name_the_thing(tmp_path):
  fails(["data.path", "empty"], "")
  fails(["/no/such/folder", "does not exist"], "/no/such/folder")
  empty = tmp_path / "empty"
  empty.mkdir()
  (empty / "notes.txt").write_text("hello")
  fails([str(empty), "1 files", ".webp"], empty)
  (tmp_path / "x.zip").write_bytes(b"PK not really")
  fails(["x.zip", "not a readable zip"], tmp_path / "x.zip")
  write(str(tmp_path / "bad"), {f"{i}.png": b"junk" for i in range(3)})
  fails(["none of the 3 images", ".png: not a readable image"], tmp_path / "bad")
  good = write(str(tmp_path / "good"), {f"{i}.png": encoded(picture(i)) for i in range(6)})
  fails(["data.crop", "(0, 0, 40, 20)", "32x32"], good, crop=(0, 0, 40, 20))
  for crop in ((4, 4, 2, 8), (0, 0, 5), (-1, 0, 5, 5)):
    fails(["data.crop", "left < right"], good, crop=crop)
  fails(["data.split_by=who", "no labels"], good, split_by="who")
  write(good, {"labels.csv": b"file,a,b\n1.png,0,1\n"})
  fails(["data.split_by=who", "a, b"], good, split_by="who")
  fails(
    ["split_by=a", "same value"],
    write(good, {"labels.csv": "".join(["file,a\n"] + [f"{i}.png,0\n" for i in range(6)]).encode()}),
    split_by="a",
  )
  fails(["labels.csv", "names none"], write(good, {"labels.csv": b"file,a\nnobody.png,0\n"}))
  fails(["row 3", "2 cells", "3"], write(good, {"labels.csv": b"file,a,b\n1.png,0,1\n2.png,0\n"}))
  fails(["labels.csv", "UTF-8", "zero bytes"], write(good, {"labels.csv": b"file,a\n1.png,\0\n"}))
  fails(["labels.csv", "empty"], write(good, {"labels.csv": b""}))
  os.remove(os.path.join(good, "labels.csv"))
  fails(["validation", "no image is left"], write(str(tmp_path / "one"), {"1.png": encoded(picture(0))}))
  fails(["counts"], good, val_examples=-1)


def test_images_that_a_crop_does_not_fit_are_skipped(tmp_path):
  files = {f"{i}.png": encoded(picture(i, 48, 48)) for i in range(6)} | {
    "small.png": encoded(picture(9, 20, 48))
  }
  data = image_folder.open_image_folder(config(write(str(tmp_path), files), crop=(0, 0, 32, 32)))
  assert [name for name, _ in data.skipped] == ["small.png"] and "crop" in data.skipped[0][1]
  assert "each is cut to data.crop=(0, 0, 32, 32); '()' is the centre square" in data.report
