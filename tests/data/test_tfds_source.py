"""TFDS data sets, prepared small in a temporary folder, read without TensorFlow.

They are array_record and TFRecord, with labels, splits and errors.
"""

import io
import json
import os
import pathlib
import shutil
import struct
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from support.configs import data_config

from pdr_jax.data import dataset, decode, pipeline, tfds_files, tfds_source
from pdr_jax.elements import Element
from pdr_jax.errors import UserError


def picture(index, channels=3):
  return np.random.default_rng(index).integers(0, 256, (32, 32, channels), dtype=np.uint8)


def png(index, channels=3):
  buffer = io.BytesIO()
  Image.fromarray(np.squeeze(picture(index, channels))).save(buffer, "PNG")
  buffer.seek(0)
  return buffer


class TinyFaces(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Like celeb_a: nested truth values, three splits."""
  VERSION = tfds.core.Version("1.0.0")
  SPLITS = (("train", 0, 20), ("validation", 100, 8), ("test", 200, 5))
  CHANNELS = 3

  def _info(self):
    image = tfds.features.Image(shape=(None, None, self.CHANNELS), encoding_format="png")
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          "image": image,
          "second": image,
          "number": np.int64,
          "angle": np.float32,
          "kind": tfds.features.ClassLabel(names=["cat", "ant"]),
          "attributes": {"Smiling": np.bool_, "deep": {"Bald": np.bool_}},
          "name": tfds.features.Text(),
          "landmarks": tfds.features.Tensor(shape=(3,), dtype=np.float32),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    return {split: self._generate_examples(start, count) for split, start, count in self.SPLITS}

  def _generate_examples(self, start, count):
    for i in range(start, start + count):
      yield (
        i,
        {
          "image": png(i, self.CHANNELS),
          "second": png(i + 5, self.CHANNELS),
          "number": i,
          "angle": i / 8,
          "kind": i % 2,
          "attributes": {"Smiling": i % 3 == 0, "deep": {"Bald": i % 5 == 0}},
          "name": str(i),
          "landmarks": np.ones(3, np.float32),
        },
      )


class TinyGrey(TinyFaces):
  """Like smallnorb: one channel; and no validation split."""
  VERSION = tfds.core.Version("1.0.0")
  SPLITS = (("train", 0, 20),)
  CHANNELS = 1


class TinyTwo(TinyFaces):
  """Like mnist: train and test alone."""
  VERSION = tfds.core.Version("1.0.0")
  SPLITS = (("train", 0, 20), ("test", 200, 5))


class TinyVideos(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Like moving_mnist, but of different lengths: video i has 3 + i % 4 grey frames."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          "frames": tfds.features.Sequence(tfds.features.Image(shape=(20, 24, 1))),
          "who": tfds.features.ClassLabel(num_classes=12),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    return {"train": ((i, {"frames": frames_of(i), "who": i}) for i in range(12))}

  def _generate_examples(self):
    raise NotImplementedError


def frames_of(i):
  rng = np.random.default_rng(i)
  return [encoded(rng.integers(0, 256, (20, 24), dtype=np.uint8)) for _ in range(3 + i % 4)]


def encoded(pixels):
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, "PNG")
  buffer.seek(0)
  return buffer


class TinyText(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """No image."""
  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict({"text": tfds.features.Text()})
    )

  def _split_generators(self, dl_manager):
    return {"train": iter([(0, {"text": "a"})])}

  def _generate_examples(self):
    raise NotImplementedError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
  root = tmp_path_factory.mktemp("tfds")
  tfds.disable_progress_bar()
  for builder in (TinyFaces, TinyGrey, TinyTwo, TinyText, TinyVideos):
    builder(data_dir=root, file_format="array_record").download_and_prepare()
  return root


def config(root, name="tiny_faces", batch=4, **data):
  return data_config(name, batch=batch, cache_dir=str(root), **data)


def load(data, split, keys=None):
  return split.load(np.arange(split.size), data.elements if keys is None else keys)


def everything(settings):
  """All training examples."""
  data = tfds_source.open_tfds(settings)
  return load(data, data.train)


def check_examples(arrays, channels=3):
  """Each row against the generator."""
  for row, i in enumerate(arrays["label/number"]):
    expected = np.broadcast_to(picture(int(i), channels), (32, 32, 3))
    np.testing.assert_array_equal(arrays["image"][row], expected)
    assert arrays["label/angle"][row] == i / 8 and arrays["label/kind"][row] == i % 2
    assert arrays["label/attributes/Smiling"][row] == (i % 3 == 0) and arrays["label/attributes/deep/Bald"][
      row
    ] == (i % 5 == 0)
  assert sorted(arrays) == sorted(["image"] + [f"label/{name}" for name in (
      "number", "angle", "kind", "attributes/Smiling", "attributes/deep/Bald")])
  assert (
    arrays["image"].dtype == np.uint8
    and arrays["label/number"].dtype == np.int32
    and arrays["label/angle"].dtype == np.float32
  )


def test_examples_labels_and_given_splits(prepared):
  data = tfds_source.open_tfds(config(prepared, val_examples=8))
  train, validation = load(data, data.train), load(data, data.validation)
  check_examples(train)
  check_examples(validation)
  assert sorted(train["label/number"]) == list(range(20)) and sorted(validation["label/number"]) == list(
    range(100, 108)
  )
  assert data.classes["label/kind"] == ("cat", "ant") and data.classes["label/number"] == ()
  assert load(data, data.train, {"image"}).keys() == {"image"}
  test = load(data, data.tests["test"])
  check_examples(test)
  assert sorted(test["label/number"]) == list(range(200, 205))


def test_what_is_for_the_test_does_not_choose_checkpoints(prepared):
  data = tfds_source.open_tfds(config(prepared, "tiny_two", val_examples=6))
  train, validation, test = (load(data, split)["label/number"] for split in (
    data.train, data.validation, data.tests["test"]))
  assert len(validation) == 6 and sorted([*train, *validation]) == list(range(20))
  assert sorted(test) == list(range(200, 205))


def test_sizes_and_a_version(prepared):
  data = tfds_source.open_tfds(config(prepared, "tiny_faces:1.0.0"))
  assert (data.train.size, data.validation.size) == (20, 8)  # 0: all
  data = tfds_source.open_tfds(config(prepared, train_examples=7, val_examples=1000))
  assert (data.train.size, data.validation.size) == (7, 8)


def test_grey_and_a_validation_split_carved_out_of_train(prepared):
  data = tfds_source.open_tfds(config(prepared, "tiny_grey", val_examples=6))
  train, validation = load(data, data.train), load(data, data.validation)
  check_examples(train, 1)
  check_examples(validation, 1)
  assert len(validation["image"]) == 6 and sorted(
    [*train["label/number"], *validation["label/number"]]
  ) == list(range(20))


@pytest.mark.parametrize("name", ["tiny_grey", "tiny_faces"])
def test_one_channel(prepared, name):
  data = tfds_source.open_tfds(config(prepared, name, channels=1))
  batch = load(data, data.train)
  assert data.elements["image"] == Element((32, 32, 1), "float32", "image", (-1.0, 1.0))
  for image, i in zip(batch["image"], batch["label/number"], strict=True):
    stored = Image.fromarray(np.squeeze(picture(int(i), 1 if name == "tiny_grey" else 3)))
    np.testing.assert_array_equal(image[..., 0], np.asarray(stored.convert("L")))


@pytest.mark.parametrize("lazily", [False, True])
def test_clips_of_videos_are_windows_of_frames_in_a_row(prepared, monkeypatch, lazily):
  if lazily:
    monkeypatch.setattr(dataset, "CACHE_LIMIT", 0)
  settings = config(prepared, "tiny_videos", side=8, frames=4, channels=1, val_examples=3, flip=True)
  data = tfds_source.open_tfds(settings)
  assert data.elements["clip"] == Element((4, 8, 8, 1), "float32", "clip", (-1.0, 1.0))
  starts = []
  for split in (data.train, data.validation):
    batch = load(data, split)
    for clip, who in zip(batch["clip"], batch["label/who"], strict=True):
      frames = np.stack([decode.decode_image(frame.getvalue(), 8)[..., :1] for frame in frames_of(int(who))])
      (start,) = [k for k in range(len(frames) - 3) if (frames[k : k + 4] == clip).all()]
      starts.append(start)
  assert {0, 1, 2} == set(starts)  # longer videos do not all begin at their first frame
  short = [reason for _, reason in data.skipped]
  assert set(short) == {"3 frames, fewer than data.frames=4"} and len(short) == (
    3 if not lazily else len(short)
  )
  np.testing.assert_array_equal(load(data, data.train, {"clip"})["clip"], load(data, data.train)["clip"])
  monkeypatch.setattr(pipeline, "open_dataset", lambda config: data)
  batch = next(pipeline.train_iterator(settings, {"clip": data.elements["clip"]}))
  assert batch["clip"].shape == (4, 4, 8, 8, 1) and batch["clip"].dtype == np.float32


def test_a_feature_of_videos_is_read_without_tensorflow(prepared, tmp_path, monkeypatch):
  """The same files, described as TFDS describes its videos; to write that description takes TensorFlow."""
  monkeypatch.setitem(sys.modules, "tensorflow", None)
  shutil.copytree(prepared / "tiny_videos", tmp_path / "tiny_videos")
  path = tmp_path / "tiny_videos" / "1.0.0" / "features.json"
  features = json.loads(path.read_text())
  shape = {"dimensions": ["-1", "20", "24", "1"]}
  features["featuresDict"]["features"]["frames"] = {
    "pythonClassName": "tensorflow_datasets.core.features.video_feature.Video",
    "video": {"shape": shape, "dtype": "uint8", "encodingFormat": "png"},
  }
  path.write_text(json.dumps(features))
  expected, videos = (
    everything(config(root, "tiny_videos", side=8, frames=3)) for root in (prepared, tmp_path)
  )
  assert videos["clip"].shape == (10, 3, 8, 8, 3)
  for key, values in expected.items():
    np.testing.assert_array_equal(videos[key], values)


def test_lazily_the_same(prepared, monkeypatch):
  expected = everything(config(prepared))
  monkeypatch.setattr(dataset, "CACHE_LIMIT", 0)
  data = tfds_source.open_tfds(config(prepared))
  assert not data.train.in_memory
  for key, value in load(data, data.train).items():
    np.testing.assert_array_equal(value, expected[key])
  monkeypatch.undo()
  monkeypatch.setattr(dataset, "EAGER_LIMIT", 0)  # room for images, once they were read
  data = tfds_source.open_tfds(config(prepared))
  for _ in range(2):
    np.testing.assert_array_equal(load(data, data.train, {"image"})["image"], expected["image"])
  monkeypatch.setattr(tfds_files.Reader, "__getitem__", None)
  np.testing.assert_array_equal(load(data, data.train, {"image"})["image"], expected["image"])


def test_through_the_pipeline_and_by_no_means_tensorflow(prepared, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorflow", None)  # importing it fails from here on
  settings = config(prepared, val_examples=6)
  batch = next(pipeline.train_iterator(settings, {"image": pipeline.published(settings)["image"]}))
  assert batch["image"].shape == (4, 32, 32, 3) and batch["image"].min() >= -1
  last = list(pipeline.validation_batches(settings))[-1]
  np.testing.assert_array_equal(last["_mask"], [1, 1, 0, 0])
  assert "label/attributes/Smiling" in last


def as_tfrecord(prepared, root, damage=lambda data: data):
  """Rewrites tiny_faces as TFRecord, as TFDS writes it with TensorFlow.

  Only the checksums differ, which are not read.
  """
  builder = tfds.builder_from_directory(prepared / "tiny_faces" / "1.0.0")
  folder = root / "tiny_faces" / "1.0.0"
  folder.mkdir(parents=True)
  for path in pathlib.Path(builder.data_dir).glob("*.json"):
    (folder / path.name).write_text(path.read_text())
  info = json.loads((folder / "dataset_info.json").read_text())
  info["fileFormat"] = "tfrecord"
  for split in info["splits"]:
    split["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    raw = builder.as_data_source(split["name"], deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
    records = [raw[i] for i in range(len(raw))]
    cut = 13 if len(records) == 20 else 0  # train in two shards
    split["shardLengths"] = [str(n) for n in (cut, len(records) - cut) if n]
    shards = [part for part in (records[:cut], records[cut:]) if part]
    for k, shard in enumerate(shards):
      data = b"".join(struct.pack("<Q", len(r)) + b"crc_" + r + b"crc_" for r in shard)
      (folder / f"tiny_faces-{split['name']}.tfrecord-{k:05}-of-{len(shards):05}").write_bytes(damage(data))
  (folder / "dataset_info.json").write_text(json.dumps(info))


def test_tfrecord_reads_the_same(prepared, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorflow", None)
  as_tfrecord(prepared, tmp_path)
  expected, actual = tfds_source.open_tfds(config(prepared)), tfds_source.open_tfds(config(tmp_path))
  for split in ("train", "validation"):
    a, b = (load(data, getattr(data, split)) for data in (expected, actual))
    assert a.keys() == b.keys()
    for key in a:
      np.testing.assert_array_equal(a[key], b[key])
  assert actual.train.size == 20


def test_the_fingerprint_changes_with_the_files(prepared, tmp_path):
  as_tfrecord(prepared, tmp_path)
  first, again, other = (tfds_source.open_tfds(config(root)).fingerprint for root in (
    tmp_path, tmp_path, prepared))
  assert first == again != other and first
  shard = next((tmp_path / "tiny_faces" / "1.0.0").glob("*train*-00001-*"))
  later = shard.stat().st_mtime + 1
  os.utime(shard, (later, later))
  assert tfds_source.open_tfds(config(tmp_path)).fingerprint != first


def test_a_bad_example_is_left_out(prepared, monkeypatch):
  real = tfds_files.Reader.__getitem__
  monkeypatch.setattr(
    tfds_files.Reader, "__getitem__", lambda self, i: real(self, i) | ({"image": b"junk"} if i == 4 else {})
  )
  data = tfds_source.open_tfds(config(prepared))
  sizes = data.train.size, data.validation.size, data.tests["test"].size
  assert (sizes, len(data.skipped)) == ((19, 7, 4), 3) and "example 4" in data.skipped[0][0]
  check_examples(load(data, data.train))
  monkeypatch.setattr(dataset, "CACHE_LIMIT", 0)
  data = tfds_source.open_tfds(config(prepared))
  check_examples(load(data, data.train))
  assert len(load(data, data.train)["image"]) == 20 and len(data.skipped) == 1


def fails(words, settings):
  with pytest.raises(UserError) as caught:
    tfds_source.open_tfds(settings)
  message = str(caught.value)
  assert "\n" not in message
  for word in words:
    assert word in message, message


def test_errors_are_one_line_and_say_what_to_do(prepared, tmp_path):
  fails(["celeb_a", "not prepared", "download_and_prepare", "array_record"], config(tmp_path, "celeb_a"))
  fails(["celeba", "did you mean", "celeb_a"], config(tmp_path, "celeba"))
  fails(["imagefolder", "did you mean", "image_folder"], config(tmp_path, "imagefolder"))
  fails(["zzz"], config(tmp_path, "zzz"))
  fails(["what is this?"], config(tmp_path, "what is this?"))
  fails(["tiny_text", "no feature `image`", "text"], config(prepared, "tiny_text"))
  fails(["data.crop"], config(prepared, crop=(0, 0, 40, 40)))
  fails(["data.crop", "left < right"], config(prepared, crop=(3, 0, 1, 40)))
  fails(["tiny_videos", "no feature `image`", "data.frames"], config(prepared, "tiny_videos"))
  fails(["data.frames=2", "no videos", "kind"], config(prepared, frames=2))
  as_tfrecord(prepared, tmp_path, lambda data: data[:-7])
  fails(["truncated"], config(tmp_path))


def test_a_damaged_copy(prepared, tmp_path):
  as_tfrecord(prepared, tmp_path)
  (tmp_path / "tiny_faces" / "1.0.0" / "dataset_info.json").write_text("{")
  fails(["tiny_faces", "prepare it again"], config(tmp_path))
