"""Two worlds as one set: halves of batches, in order, of the keys that both have."""

import numpy as np
import pytest
from support.configs import data_config
from test_ict_faces import fake_parts, write_npz

from pdr_jax.data import dataset, joined, pipeline
from pdr_jax.data.sources import faces
from pdr_jax.errors import UserError

SIDE = 8


def _world(value: int):
  """A reader of a world whose pictures hold `value`, and depths the picture's number."""

  def read(config):
    def split(count):
      number = np.arange(count, dtype=np.float32)
      arrays = {
        "image": np.full((count, SIDE, SIDE, 3), value, np.uint8),
        "depth": np.tile(number[:, None, None], (1, SIDE, SIDE)),
        "light": np.full((count, 9), value, np.float32),
        "weights": np.zeros((count, value), np.float32),  # of another length in each world
      }
      arrays |= {"mask": arrays["depth"] + 1, "view": np.zeros((count, 6), np.float32)}
      return arrays | {"albedo": arrays["image"], "normal": np.zeros((count, SIDE, SIDE, 3), np.float32)}

    assert config.data.name == {10: "people", 20: "ict_faces"}[value]
    train, validation = split(config.data.train_examples), split(config.data.val_examples)
    elements = dataset.elements_of(train)
    splits = [dataset.memory_split(arrays) for arrays in (train, validation)]
    return dataset.Dataset("world", *splits, elements=elements, classes={}, skipped=[])

  return read


@pytest.fixture
def config(monkeypatch):
  for name, value in (("people", 10), ("ict_faces", 20)):
    monkeypatch.setattr(faces.MEMBERS[name], "read", _world(value))
  return data_config("faces", side=SIDE, path="model.npz", train_examples=7, val_examples=4)


def test_faces_are_people_and_then_ict_faces(config):
  data = pipeline.open_dataset(config)
  assert data.train.size == 7 and data.validation.size == 4
  rows = data.train.load(np.array([6, 0, 3, 4]), ["image", "depth", "light", "weights", "label/set"])
  assert rows["image"][:, 0, 0, 0].tolist() == [20, 10, 10, 20] and rows["image"].dtype == np.uint8
  assert rows["depth"][:, 1, 1].tolist() == [2, 0, 3, 0] and rows["light"][:, 4].tolist() == [20, 10, 10, 20]
  assert rows["label/set"].tolist() == [1, 0, 0, 1] and "weights" not in rows
  assert data.classes == {"label/set": ("people", "ict_faces")} and "weights" not in data.elements


def test_faces_change_with_the_model_on_disk(config, monkeypatch):
  read = faces.MEMBERS["ict_faces"].read
  monkeypatch.setattr(faces.MEMBERS["ict_faces"], "read", lambda half: read(half)._replace(fingerprint="a"))
  assert faces.read(config).fingerprint == "a"


def test_every_batch_is_half_of_each(config):
  keys = {key: pipeline.published(config)[key] for key in ("image", "label/set")}
  batches = pipeline.train_iterator(config, keys)
  for _ in range(5):
    batch = next(batches)
    assert np.bincount(batch["label/set"]).tolist() == [2, 2]
    assert sorted(np.rint((batch["image"][:, 0, 0, 0] + 1) * 127.5)) == [10, 10, 20, 20]
  batches.close()


def test_validation_is_half_of_each_and_all_is_in_memory(config):
  data = pipeline.open_dataset(config)
  rows = data.validation.load(np.arange(4), ["light", "label/set"])
  assert rows["light"][:, 0].tolist() == [10, 10, 20, 20] and rows["label/set"].tolist() == [0, 0, 1, 1]
  assert data.train.in_memory and data.validation.in_memory and data.note == ""


def test_one_example_is_no_half_of_each(config):
  config.data.val_examples = 1
  with pytest.raises(UserError, match=r"data\.val_examples=1: data\.name=faces joins 2 worlds and needs"):
    pipeline.open_dataset(config)


@pytest.mark.slow
def test_the_two_worlds_agree_in_what_they_share(tmp_path):
  write_npz(tmp_path / "model.npz", fake_parts())
  sizes = dict(side=16, train_examples=2, val_examples=2, cache_dir=str(tmp_path / "cache"))
  config = data_config("faces", path=str(tmp_path / "model.npz"), **sizes)
  data = pipeline.open_dataset(config)
  rows = data.validation.load(np.arange(2), [*faces.KEYS, "label/set"])
  assert rows["label/set"].tolist() == [0, 1] and set(faces.KEYS) <= rows.keys()
  assert all(rows[key].shape[1:] == data.elements[key].shape for key in faces.KEYS)
  assert np.abs(np.diff(rows["image"].astype(int), axis=0)).mean() > 5


@pytest.mark.parametrize("other", [np.zeros((2, 3), np.float32), np.zeros((2, 1), np.uint8)])
def test_splits_of_other_shapes_or_types_do_not_join(other):
  splits = [dataset.memory_split({"a": np.zeros((2, 3), np.uint8)}), dataset.memory_split({"a": other})]
  with pytest.raises(ValueError, match="joined splits have 'a' as"):
    joined.join(splits, ["a"]).load(np.array([0, 3]), ["a"])


def test_joined_splits_load_nothing_that_was_not_asked_for():
  def load(indices, keys):
    assert list(keys) == ["a"]
    return {"a": indices}

  split = joined.join([dataset.Split(3, load, False), dataset.Split(2, load, True)], ["a", "b"], (1, 2))
  assert split.size == 5 and not split.in_memory and split.shares == ((3, 1), (2, 2))
  assert split.load(np.array([4, 2, 3]), ["a"])["a"].tolist() == [1, 2, 0]
  assert split.load(np.array([4, 2]), ["label/set"])["label/set"].tolist() == [1, 0]
