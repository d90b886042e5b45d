"""Folders and zips of frames as clips: what a clip holds, who is kept apart, what is left out."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image
from support.configs import data_config

from pdr_jax.data import dataset, pipeline
from pdr_jax.errors import UserError

SIDE = 16


def pixels(number):
  return np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def png(number):
  buffer = io.BytesIO()
  Image.fromarray(pixels(number)).save(buffer, "PNG")
  return buffer.getvalue()


def write(folder, files):
  for name, data in files.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def opened(path, **data):
  config = data_config("image_folder", path=str(path), side=SIDE, **data)
  return config, pipeline.open_dataset(config)


def everything(data):
  parts = [split.load(np.arange(split.size), data.elements) for split in (data.train, data.validation)]
  return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


@pytest.mark.parametrize("lazily", [False, True])
def test_a_folder_for_each_sequence(tmp_path, monkeypatch, lazily):
  write(tmp_path, {f"walk/{who}/{k}.png": png(100 * who + k) for who in range(5) for k in range(8, 15)})
  if lazily:
    monkeypatch.setattr(dataset, "CACHE_LIMIT", 0)
  pipeline._open.cache_clear()
  config, data = opened(tmp_path, frames=3, val_examples=3)
  assert data.train.in_memory != lazily and data.elements["clip"].shape == (3, SIDE, SIDE, 3)
  clips = everything(data)["clip"]
  expected = {(who, k) for who in range(5) for k in (8, 11)}  # 14 is the rest
  actual = {
    (who, k)
    for clip in clips
    for who, k in expected
    if all((clip[t] == pixels(100 * who + k + t)).all() for t in range(3))
  }
  # Two whole sequences are kept for validation, which takes three of their four clips.
  assert actual < expected and len(actual) == len(clips) == 9
  assert (data.train.size, data.validation.size) == (6, 3)
  assert any("10 clips of 3 frames" in line for line in pipeline.describe(config).report)
  batch = next(pipeline.train_iterator(config, {"clip": pipeline.published(config)["clip"]}))
  assert batch["clip"].shape == (4, 3, SIDE, SIDE, 3) and batch["clip"].dtype == np.float32
  pipeline._open.cache_clear()


def zipped(tmp_path, changes=None):
  """Twelve sequences of four frames in a zip, of four people.

  The order of time is against that of names.
  """
  rows = [
    {
      "file": f"{9 - k}_{s}.png",
      "sequence": f"s{s}",
      "frame": k,
      "person": f"p{s % 4}",
      "mood": "sad" if s % 2 else "gay",
    }
    for s in range(12)
    for k in range(4)
  ]
  for row in rows:
    row.update((changes or {}).get(row["file"], {}))
  table = "\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)])
  with zipfile.ZipFile(tmp_path / "frames.zip", "w") as file:
    for s in range(12):
      for k in range(4):
        file.writestr(f"{9 - k}_{s}.png", png(10 * s + k))
    file.writestr("labels.csv", table)
  return tmp_path / "frames.zip"


def test_columns_of_the_table_and_nobody_in_two_splits(tmp_path):
  _, data = opened(zipped(tmp_path), frames=4, channels=1, val_examples=3)
  shapes = {key: element.shape for key, element in data.elements.items()}
  assert shapes["clip"] == (4, SIDE, SIDE, 1)
  assert shapes["label/frame"] == (4,) and shapes["label/person"] == shapes["label/mood"] == ()
  people = []
  for split in (data.train, data.validation):
    batch = split.load(np.arange(split.size), data.elements)
    titles = [data.classes["label/sequence"][k] for k in batch["label/sequence"]]
    for clip, title in zip(batch["clip"], titles, strict=True):
      grey = [np.asarray(Image.fromarray(pixels(10 * int(title[1:]) + k)).convert("L")) for k in range(4)]
      np.testing.assert_array_equal(clip[..., 0], grey)
    people.append({data.classes["label/person"][k] for k in batch["label/person"]})
  assert len(people[1]) == 1 and not people[0] & people[1] and data.validation.size == 3


def test_split_by_a_label_of_clips(tmp_path):
  _, data = opened(zipped(tmp_path), frames=2, split_by="mood")
  moods = [
    set(split.load(np.arange(split.size), {"label/mood"})["label/mood"])
    for split in (data.train, data.validation)
  ]
  assert len(moods[0]) == len(moods[1]) == 1 and moods[0] != moods[1]


@pytest.mark.parametrize("by", ["folders", "column"])
def test_validation_out_of_a_published_train_has_nobody_of_it(tmp_path, by):
  """Eight videos of eight frames, six of them in train; by a column two videos are of one person."""
  rows = ["file,sequence,person,split"]
  for video in range(8):
    part = "train" if video < 6 else "test"
    for k in range(8):
      name = f"{part if by == 'folders' else 'all'}/v{video}/{k}.png"
      buffer = io.BytesIO()
      Image.new("RGB", (SIDE, SIDE), (10 * video + k,) * 3).save(buffer, "PNG")
      write(tmp_path, {name: buffer.getvalue()})
      rows.append(f"{name},v{video},p{video // 2},{part}")
  if by == "column":
    write(tmp_path, {"labels.csv": "\n".join(rows).encode()})
  _, data = opened(tmp_path, frames=2, split_by="split" if by == "column" else "seed")
  assert any("validation is taken from train" in line for line in data.report)
  parts = [data.train, data.validation, data.tests["test"]]
  videos = [part.load(np.arange(part.size), ["clip"])["clip"][:, 0, 0, 0, 0] // 10 for part in parts]
  # Four clips a video: a tenth of 24, rounded up, are of one video, or of one person's two.
  together = 2 if by == "column" else 1
  assert [part.size for part in parts] == [24 - 4 * together, 3, 8]
  trained, validated, tested = (set((part // together).tolist()) for part in videos)
  assert len(validated) == 1 and trained | validated == set(range(6 // together))
  assert not trained & validated and tested == {part // together for part in (6, 7)}


def test_a_published_train_of_one_video_gives_no_validation(tmp_path):
  write(tmp_path, {f"{part}/0/{k}.png": png(k) for part in ("train", "test") for k in range(4)})
  with pytest.raises(UserError, match=r"^all clips for training and validation are of one .*\(train/0\)"):
    opened(tmp_path, frames=2)


def test_a_clip_with_a_file_that_cannot_be_read_is_left_out(tmp_path):
  files = {f"{who}/{k}.png": png(10 * who + k) for who in range(6) for k in range(4)}
  write(tmp_path, files | {"3/1.png": b"not a picture"})
  _, data = opened(tmp_path, frames=2)
  assert data.train.size + data.validation.size == 11 and [name for name, _ in data.skipped] == ["3/1.png"]


@pytest.mark.parametrize("limit", ["EAGER_LIMIT", "CACHE_LIMIT"])  # clips are kept once read, or are not
def test_of_large_sets_the_next_whole_clip_takes_the_place_of_a_broken_one(tmp_path, monkeypatch, limit):
  rows = [f"v{who}/{k}.png,v{who},{k}" for who in range(6) for k in range(6)]
  write(tmp_path, {f"v{who}/{k}.png": png(10 * who + k) for who in range(6) for k in range(6)})
  write(tmp_path, {"labels.csv": "\n".join(["file,sequence,frame", *rows]).encode()})
  monkeypatch.setattr(dataset, limit, 0)
  pipeline._open.cache_clear()
  _, data = opened(tmp_path, frames=3, val_examples=1)
  whole = data.train.load(np.arange(10), data.elements)
  for clip, frame in ((3, 1), (4, 0), (9, 2)):  # two in a row, and the last, which the first one follows
    name = f"v{whole['label/sequence'][clip]}/{whole['label/frame'][clip, frame]}.png"
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-300])  # its header is fine
  pipeline._open.cache_clear()
  _, data = opened(tmp_path, frames=3, val_examples=1)
  assert data.train.size == 10 and not data.train.in_memory
  for _ in range(2):
    loaded = data.train.load(np.arange(10), data.elements)
    for key, values in whole.items():
      np.testing.assert_array_equal(loaded[key], values[[0, 1, 2, 5, 5, 5, 6, 7, 8, 0]], err_msg=key)
  assert len(data.skipped) == 3
  alone = data.train.load(np.array([4, 9]), ["label/frame", "label/sequence"])
  for key, values in alone.items():
    np.testing.assert_array_equal(values, whole[key][[5, 0]])


def test_frames_in_no_clip_and_gaps_in_their_numbers_are_told(tmp_path):
  numbers = {"a": (8, 9, 10, 12, 13), "b": (2, 4, 6, 8, 10), "c": (1, 2)}
  write(tmp_path, {f"{who}/f{k}.png": png(k) for who, present in numbers.items() for k in present})
  _, data = opened(tmp_path, frames=3)
  assert data.report[-2:] == (
    "2 clips of 3 frames; 1 sequences left out, the first: c, 2 frames, fewer than data.frames=3; "
    "4 frames at the ends of sequences are in no clip",
    "1 sequences have gaps in the numbers of their files: in a, f12.png is taken for what comes after "
    "f10.png",
  )


@pytest.mark.parametrize("changes, words", [
  ({"8_3.png": {"frame": ""}}, ("8_3.png", "frame number", "missing")),
  ({"8_3.png": {"frame": 7}}, ("the sequence s3 has no frame 1",)),
  ({"8_3.png": {"person": "p0"}}, ("the sequence s3 is of two people",)),
])
def test_a_wrong_table_is_one_line(tmp_path, changes, words):
  with pytest.raises(UserError) as caught:
    opened(zipped(tmp_path, changes), frames=4)
  message = str(caught.value)
  assert all(word in message for word in words) and "frames.zip" in message and "\n" not in message, message


def test_clips_that_are_too_long_are_one_line(tmp_path):
  with pytest.raises(
    UserError, match=r"data.frames=5: none of the 12 sequences of .* the longest, s0, has 4 frames"
  ):
    opened(zipped(tmp_path), frames=5)


def test_columns_of_other_names_say_what_is_a_sequence(tmp_path):
  """`car:sequence,turn:frame,owner:person`: clips of one owner are on one side."""
  rows = ["file,car,turn,owner,angle"]
  for car in range(4):
    for turn in range(4):
      write(tmp_path, {f"{car}_{9 - turn}.png": png(10 * car + turn)})
      rows.append(f"{car}_{9 - turn}.png,car {car},{turn},{'ab'[car // 2]},{turn}.5")
  write(tmp_path, {"labels.csv": "\n".join(rows).encode()})
  _, data = opened(tmp_path, frames=4, val_examples=2, label_kinds="car:sequence,turn:frame,owner:person")
  loaded = everything(data)
  assert set(data.elements) == {"clip", "label/car", "label/turn", "label/owner", "label/angle"}
  for clip, car, angle in zip(loaded["clip"], loaded["label/car"], loaded["label/angle"], strict=True):
    for turn in range(4):
      np.testing.assert_array_equal(clip[turn], pixels(10 * int(car) + turn))
    np.testing.assert_array_equal(angle, np.arange(4) + 0.5)
  parts = [split.load(np.arange(2), ["label/owner"]) for split in (data.train, data.validation)]
  owners = [set(part["label/owner"]) for part in parts]
  assert not owners[0] & owners[1]
  with pytest.raises(UserError, match=r"data\.label_kinds=cat:sequence: the columns are car, turn"):
    opened(tmp_path, frames=4, label_kinds="cat:sequence")


def test_a_stride_is_an_option_of_clips(tmp_path):
  write(tmp_path, {f"{who}/{k}.png": png(10 * who + k) for who in range(4) for k in range(6)})
  _, data = opened(tmp_path, frames=3, options="stride=2", val_examples=2)
  assert (data.train.size, data.validation.size) == (6, 2)
  expected = [np.stack([pixels(10 * who + k) for k in (begin, begin + 2, begin + 4)])
              for who in range(4) for begin in (0, 1)]
  for clip in everything(data)["clip"]:
    assert sum((clip == one).all() for one in expected) == 1
  with pytest.raises(UserError, match=r"^data.options=stride=2: is for clips; data.frames=0 reads single"):
    opened(tmp_path, frames=0, options="stride=2")
  with pytest.raises(UserError, match=r"^data.options: stride=0: must be at least 1"):
    opened(tmp_path, frames=3, options="stride=0")


@pytest.mark.parametrize("lazily", [False, True])
def test_frames_of_several_sizes_and_a_file_that_is_no_image_are_told(tmp_path, monkeypatch, lazily):
  if lazily:
    monkeypatch.setattr(dataset, "CACHE_LIMIT", 0)
  write(tmp_path, {f"{who}/{k}.png": png(10 * who + k) for who in range(5) for k in range(4)})
  Image.fromarray(np.zeros((24, 20, 3), np.uint8)).save(tmp_path / "1" / "2.png")
  (tmp_path / "3" / "1.png").write_bytes(b"this is no image")
  config, data = opened(tmp_path, frames=2, val_examples=2)
  told = pipeline.describe(config).report
  assert (
    "1 clips have frames of several sizes, the first with 1/2.png (20x24) and 1/3.png (16x16); each frame is"
    " cut and scaled by itself" in told
  )
  assert data.skipped == [("3/1.png", "not a readable image; its clip is left out")]
  assert data.train.size + data.validation.size == 9


def of_parts(tmp_path, split_by, changed):
  """Clips of three videos of four frames: the last is `test`, and frame 2 of the first has `changed`."""
  rows = ["file,sequence,frame,split"]
  for video in range(3):
    for k in range(4):
      buffer = io.BytesIO()
      Image.new("RGB", (SIDE, SIDE), (10 * video + k,) * 3).save(buffer, "PNG")
      write(tmp_path, {f"v{video}/{k}.png": buffer.getvalue()})
      value = "test" if video == 2 else changed if (video, k) == (0, 2) else "train"
      rows.append(f"v{video}/{k}.png,v{video},{k},{value}")
  write(tmp_path, {"labels.csv": "\n".join(rows).encode()})
  return opened(tmp_path, frames=2, split_by=split_by)[1]


@pytest.mark.parametrize("changed, of", [("test", "test"), ("", "no part")])
def test_a_clip_of_two_parts_is_refused(tmp_path, changed, of):
  with pytest.raises(UserError, match=f"v0/2.png is of {of} and v0/3.png of train.* one clip"):
    of_parts(tmp_path, "split", changed)


def test_values_of_one_part_may_share_a_clip(tmp_path):
  data = of_parts(tmp_path, "split:train=train,more=train,test=test", "more")
  # Of the four clips of two videos a tenth, rounded up, is for validation, and its video is not trained on.
  assert (data.train.size, data.validation.size, data.tests["test"].size) == (2, 1, 2)
