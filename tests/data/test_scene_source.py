"""Embedded worlds as batches: each row equals the stored example, in memory or read; images of training never need truth."""

import numpy as np
import pytest

from pdr_jax.config import base
from pdr_jax.data import dataset, pipeline, scene_source
from pdr_jax.data.scenes import builder


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
  config = base()
  config.data.update(name="heads", side=32, train_examples=8, val_examples=5, cache_dir=str(tmp_path_factory.mktemp("worlds")), flip=True)
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
  assert "weights" not in batches[0] and batches[0]["depth"].shape == (4, 32, 32) and batches[0]["light"].shape == (4, 9)
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
