"""Embedded worlds as batches: each row equals the stored example, in memory or read; images of training never need truth."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from pdr_jax.config import base
from pdr_jax.data import dataset, pipeline, scene_source
from pdr_jax.data.scenes import builder


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
    return {"train": self._generate_examples(0, 8), "validation": self._generate_examples(50, 5)}

  def _generate_examples(self, start, count):
    for i in range(start, start + count):
      rng = np.random.default_rng(i)
      maps = {name: rng.integers(1, 255, (32, 32, 3), dtype=np.uint8) for name in ("image", "albedo", "normal")}
      maps["depth"] = np.where(rng.random((32, 32)) < 0.5, rng.integers(0, 60_000, (32, 32)), 65_535).astype(np.uint16)
      yield i, {**{name: png(pixels) for name, pixels in maps.items()}, "weights": np.zeros(4, np.float32),
                "light": rng.normal(size=9).astype(np.float32), "view": rng.normal(size=6).astype(np.float32),
                "label": {"identity": i, "smiling": i % 2}}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  tfds.disable_progress_bar()
  made = Noise(config=builder.WorldConfig(name="noise", side=32, label_names=("identity", "smiling")), file_format="array_record",
               data_dir=tmp_path_factory.mktemp("worlds"))
  made.download_and_prepare()
  return made


@pytest.fixture
def settings(world, monkeypatch):
  monkeypatch.setattr(builder, "builder_for", lambda config: world)
  config = base()
  config.data.update(name="heads", side=32, train_examples=8, val_examples=5, flip=True)
  config.train.batch_size = 4
  return config


def expected(settings, split):
  source = builder.builder_for(settings).as_data_source(split)
  return [builder.decode_example(example) for example in source]


def check(batch, rows):
  for key, values in batch.items():
    if key != "_mask":
      for value, row in zip(values, rows, strict=True):
        np.testing.assert_array_equal(value, row[key], err_msg=key)


@pytest.mark.parametrize("memory", [True, False])
def test_batches_hold_the_stored_examples(settings, memory, monkeypatch):
  pipeline._open.cache_clear()
  if not memory:
    monkeypatch.setattr(dataset, "CACHE_LIMIT", 0)
  rows = expected(settings, "validation")
  batches = list(pipeline.validation_batches(settings))
  check(batches[0], rows[:4])
  check(batches[1], [rows[4], rows[0], rows[0], rows[0]])  # padding repeats a real image
  assert {"image", "depth", "normal", "albedo", "mask", "light", "view", "label/smiling", "_mask"} <= batches[0].keys()
  assert batches[0]["weights"].shape == (4, 4) and batches[0]["depth"].shape == (4, 32, 32) and batches[0]["light"].shape == (4, 9)
  np.testing.assert_allclose(np.linalg.norm(batches[0]["normal"], axis=-1), 1, atol=1e-6)

  train = expected(settings, "train")
  iterator = pipeline.train_iterator(settings, image_only=False)
  plain = pipeline.train_iterator(settings)
  for _ in range(3):
    batch = next(iterator)
    order = [next(i for i, row in enumerate(train) if row["label/identity"] == who) for who in batch["label/identity"]]
    check(batch, [train[i] for i in order])  # not mirrored either: flip is for images without truth
    only = next(plain)
    assert only.keys() == {"image"}
    np.testing.assert_array_equal(only["image"], batch["image"])
  iterator.close()
  plain.close()
  info = pipeline.describe(settings)
  assert info.has_truth and (info.train_size, info.validation_size, info.in_memory) == (8, 5, memory) and "true depth" in info.summary()
  pipeline._open.cache_clear()


def test_training_images_are_read_without_their_truth(settings, monkeypatch):
  monkeypatch.setattr(dataset, "CACHE_LIMIT", 0)
  data = scene_source.open_scenes(settings)
  monkeypatch.setattr(builder, "decode_example", None)  # would decode three more maps for each image
  assert data.train.load(np.array([3, 1]), True)["image"].shape == (2, 32, 32, 3)
