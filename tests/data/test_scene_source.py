"""Embedded worlds as batches: each row is the stored example.

It is a picture or a clip, in colour or grey, kept or read.
"""

import io
import pathlib
import tempfile
import zlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from support.configs import data_config

from pdr_jax.data import dataset, pipeline, scene_source, tfds_files
from pdr_jax.data.scenes import builder, landmarks

SIDE = 12
TRUTH = {
  "image",
  "albedo",
  "normal",
  "depth",
  "mask",
  "light",
  "view",
  "weights",
  "label/identity",
  "label/smiling",
}


def png(pixels):
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, "PNG")
  buffer.seek(0)
  return buffer


class Noise(builder.SceneBuilder, skip_registration=True):
  """A world as it is stored, of noise: rendering is tested elsewhere and takes long to compile."""

  VERSION = tfds.core.Version("1.0.0")

  def dataset_info_from_configs(self, **kwargs):  # the original looks for files beside the builder's package
    return tfds.core.DatasetInfo(builder=self, features=kwargs["features"], disable_shuffling=True)

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples(0, 12), "validation": self._generate_examples(50, 5)}

  def _generate_examples(self, start, count):
    for i in range(start, start + count):
      rng = np.random.default_rng(i)
      maps = {
        name: rng.integers(1, 255, (SIDE, SIDE, 3), dtype=np.uint8) for name in ("image", "albedo", "normal")
      }
      depth = np.where(rng.random((SIDE, SIDE)) < 0.5, rng.integers(0, 60_000, (SIDE, SIDE)), 65_535)
      encoded = {name: png(pixels) for name, pixels in (maps | {"depth": depth.astype(np.uint16)}).items()}
      vectors = {"light": rng.normal(size=9), "view": rng.normal(size=6), "weights": np.zeros(4)}
      labels = {"identity": i, "smiling": i % 2}
      yield (
        i,
        encoded | {name: value.astype(np.float32) for name, value in vectors.items()} | {"label": labels},
      )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  tfds.disable_progress_bar()
  made = Noise(
    config=builder.WorldConfig(name="noise", side=SIDE, label_names=("identity", "smiling")),
    file_format="array_record",
    data_dir=tmp_path_factory.mktemp("worlds"),
  )
  made.download_and_prepare()
  return made


def test_a_world_leaves_nothing_among_the_temporary_files(tmp_path, monkeypatch):
  (tmp_path / "temporary").mkdir()
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
  Noise(config=builder.WorldConfig(name="noise", side=SIDE), data_dir=tmp_path / "worlds")
  assert not list((tmp_path / "temporary").iterdir())


class Shaped(Noise, skip_registration=True):
  """Noise that is drawn of a file."""

  LABELS = ("identity", "smiling")

  @staticmethod
  def source(path):
    return path, f"_model{zlib.crc32(pathlib.Path(path).read_bytes()):08x}"


def test_a_world_of_a_file_changes_with_it(tmp_path):
  sizes = dict(side=SIDE, train_examples=12, val_examples=5, cache_dir=str(tmp_path / "cache"))
  data = data_config("ict_faces", path=str(tmp_path / "model"), **sizes).data
  fingerprints = []
  for shape in (b"one", b"two", b"one"):
    (tmp_path / "model").write_bytes(shape)
    fingerprints.append(scene_source.open_world(data, Shaped).fingerprint)
  assert fingerprints[0] == fingerprints[2] != fingerprints[1] and all(fingerprints)


@pytest.fixture(params=[True, False], ids=["in memory", "read"])
def memory(request, monkeypatch):
  if not request.param:
    monkeypatch.setattr(dataset, "CACHE_LIMIT", 0)
  pipeline._open.cache_clear()
  yield request.param
  pipeline._open.cache_clear()


@pytest.fixture
def settings(world, monkeypatch):
  monkeypatch.setattr(builder, "prepared", lambda kind, data: world)
  return data_config("heads", side=SIDE, train_examples=12, val_examples=5, flip=True)


def expected(world, split):
  """What batches must hold of every stored image, written from the description of the files."""
  rows = []
  for example in world.as_data_source(split):
    normal = example["normal"].astype(np.float64) / 127 - 1
    steps = example["depth"][..., 0].astype(np.float64)
    inside = steps <= 65_534
    rows.append({
      "image": example["image"] / 127.5 - 1,
      "albedo": example["albedo"] / 127.5 - 1,
      "normal": normal / np.linalg.norm(normal, axis=-1, keepdims=True),
      "depth": np.where(inside, 0.8 + 0.4 * steps / 65_534, 1.1),
      "mask": inside.astype(np.float64),
      **{name: example[name] for name in ("light", "view", "weights")},
      **{f"label/{name}": value for name, value in example["label"].items()},
    })
  return rows


def check(batch, rows):
  """Values are at most 2 in size and pass three or four float32 roundings of 6e-8 each."""
  for key in batch.keys() - {"_mask"}:
    np.testing.assert_allclose(batch[key], np.stack([row[key] for row in rows]), atol=1e-6, err_msg=key)


def test_batches_hold_the_stored_examples(settings, world, memory):
  rows = expected(world, "validation")
  batches = list(pipeline.validation_batches(settings))
  assert batches[0].keys() == TRUTH | {"_mask"}
  check(batches[0], rows[:4])
  check(batches[1], [rows[4], rows[0], rows[0], rows[0]])  # padding repeats a real image
  spec = pipeline.published(settings)
  assert {key: (spec[key].shape, spec[key].dtype) for key in spec} == {
    key: (batches[0][key].shape[1:], batches[0][key].dtype.name) for key in TRUTH
  }
  assert (spec["depth"].meaning, spec["label/smiling"].meaning) == ("depth", "label") and spec[
    "light"
  ].range is None

  train = expected(world, "train")
  full, plain = (
    pipeline.train_iterator(settings, {key: spec[key] for key in keys}) for keys in (spec, ["image"])
  )
  for _ in range(3):
    batch = next(full)
    check(
      batch, [train[who] for who in batch["label/identity"]]
    )  # not mirrored: flips are for images without truth
    only = next(plain)
    assert only.keys() == {"image"}
    np.testing.assert_array_equal(only["image"], batch["image"])
  full.close()
  plain.close()
  info = pipeline.describe(settings)
  assert (info.train_size, info.validation_size, info.in_memory) == (12, 5, memory)
  assert "true depth" in info.summary() and "12 training and 5 validation images" in info.summary()


def test_a_world_of_heads_publishes_its_landmarks_without_storing_them(settings, world, memory, monkeypatch):
  rng = np.random.default_rng(0)
  vertices, modes = rng.normal(0, 0.05, (7, 3)) + [0, 0, 1], rng.normal(0, 0.01, (4, 7, 3))
  monkeypatch.setattr(Noise, "LANDMARKS", True)
  basis = landmarks.Basis(vertices.astype(np.float32), modes.astype(np.float32))
  monkeypatch.setattr(landmarks, "stored_basis", lambda path, model: basis)
  assert pipeline.published(settings)["canonical_landmarks"].shape == (7, 3)
  batch = next(iter(pipeline.validation_batches(settings)))
  assert batch.keys() == TRUTH | {"canonical_landmarks", "_mask"}
  x, y, z = np.moveaxis(vertices, -1, 0)  # the weights of `Noise` are zero
  focal = (SIDE - 1) / 2 / np.tan(np.deg2rad(5))
  expected = np.stack([focal * x / z + (SIDE - 1) / 2, focal * y / z + (SIDE - 1) / 2, z], axis=-1)
  # Pixels up to 20 in float32, times a focal length of 63.
  np.testing.assert_allclose(batch["canonical_landmarks"], np.stack([expected] * 4), atol=1e-4)
  settings.data.frames = 3
  settings.train.batch_size = 1
  assert pipeline.published(settings)["canonical_landmarks"].shape == (7, 3)  # one for the clip


def test_grey_is_the_luminance_of_the_stored_colours(settings, world, memory):
  settings.data.channels = 1
  (batch, _) = pipeline.validation_batches(settings)
  for k, example in enumerate(list(world.as_data_source("validation"))[:4]):
    for key in ("image", "albedo"):
      grey = np.asarray(Image.fromarray(example[key]).convert("L"), np.float64)[..., None]
      np.testing.assert_allclose(batch[key][k], grey / 127.5 - 1, atol=1e-6)  # roundings of numbers up to 2
  assert batch["normal"].shape == (4, SIDE, SIDE, 3)


def test_images_in_a_row_are_a_clip(settings, world, memory):
  settings.data.frames = 3
  settings.train.batch_size = 1
  rows = expected(world, "validation")
  (batch,) = pipeline.validation_batches(settings)
  assert batch.keys() == TRUTH - {"image"} | {"clip", "_mask"}
  for key in ("albedo", "normal", "depth", "mask", "view"):
    check({key: batch[key][0]}, rows[:3])
  check({"image": batch["clip"][0]}, rows[:3])
  check({key: batch[key] for key in ("light", "weights", "label/identity")}, rows[:1])
  spec = pipeline.published(settings)
  assert (
    spec["clip"].shape == (3, SIDE, SIDE, 3)
    and spec["view"].shape == (3, 6)
    and spec["label/identity"].shape == ()
  )
  iterator = pipeline.train_iterator(settings, {key: spec[key] for key in ("clip", "label/identity")})
  train, seen = expected(world, "train"), set()
  for _ in range(4):
    batch = next(iterator)
    who = int(batch["label/identity"][0])
    assert who % 3 == 0
    check({"image": batch["clip"][0]}, train[who : who + 3])
    seen.add(who)
  assert (
    seen == {0, 3, 6, 9}
    and "4 training and 1 validation clips of 3 frames" in pipeline.describe(settings).summary()
  )


def test_nothing_is_read_that_is_not_asked_for(settings, monkeypatch):
  monkeypatch.setattr(dataset, "CACHE_LIMIT", 0)
  pipeline._open.cache_clear()
  data, features, real = pipeline.open_dataset(settings), [], tfds_files.Reader.__init__

  def record(self, world, split, paths, *, encoded):
    features.append(paths)
    real(self, world, split, paths, encoded=encoded)

  monkeypatch.setattr(tfds_files.Reader, "__init__", record)
  assert data.train.load(np.array([3, 1]), {"image"})["image"].shape == (2, SIDE, SIDE, 3)
  assert data.train.load(np.array([3, 1]), {"mask", "label/smiling", "clip"}).keys() == {
    "mask",
    "label/smiling",
  }
  data.train.load(np.array([3]), {"image"})  # the files are opened once
  assert features == [["image"], ["depth", "label/smiling"]]
  pipeline._open.cache_clear()
