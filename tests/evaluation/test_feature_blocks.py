"""Selection, standardisation and the one-line errors of features that no task can use."""

import re

import numpy as np
import pytest

from pdr_jax.errors import UserError
from pdr_jax.evaluation import features as lib
from pdr_jax.evaluation.features import Features


def example(**changes):
  random = np.random.default_rng(0)
  blocks = {"depth": random.normal(size=(6, 2)).astype(np.float32), "light": random.normal(size=(6, 3)).astype(np.float32)}
  labels = {"emotion": np.array([0, 1, 0, 1, -1, 0], np.int32), "age": np.array([1, 2, np.nan, 3, 4, 5], np.float32)}
  return Features(blocks, labels, {"emotion": ("sad", "glad")})._replace(**changes)


def test_select_is_concatenation_in_the_order_of_the_names():
  features = example()
  found = lib.select(features, ["light", "depth"])
  assert found.shape == (6, 5) and found.dtype == np.float32
  np.testing.assert_array_equal(found[:, :3], features.blocks["light"])
  np.testing.assert_array_equal(found[:, 3:], features.blocks["depth"])


@pytest.mark.parametrize("blocks, expected", [
    (["depth", "albedo", "light"], {"depth": 1, "albedo": 1, "light": 1, "depth+albedo": 2, "all": 3}),
    (["depth", "albedo"], {"depth": 1, "albedo": 1, "depth+albedo": 2}),  # all would be the same again
    (["albedo", "depth"], {"depth": 1, "albedo": 1, "depth+albedo": 2}),
    (["depth", "light"], {"depth": 1, "light": 1, "all": 2}),
    (["latent"], {"latent": 1}),
])
def test_subsets(blocks, expected):
  found = lib.subsets(dict.fromkeys(blocks))
  assert {name: len(subset) for name, subset in found.items()} == expected
  assert all(set(subset) <= set(blocks) for subset in found.values())
  assert found.get("depth+albedo", ("depth", "albedo")) == ("depth", "albedo")


def test_standardize_uses_train_only():
  random = np.random.default_rng(1)
  train, test = random.normal(3, 2, (50, 4)).astype(np.float32), random.normal(5, 1, (20, 4)).astype(np.float32)
  train[:, 2], test[0, 2] = 0.1, 7.0  # constant in train: zero everywhere
  a, b = lib.standardize(train, test)
  for i in (0, 1, 3):
    np.testing.assert_allclose(a[:, i], (train[:, i] - train[:, i].mean()) / train[:, i].std(), atol=1e-5)
    np.testing.assert_allclose(b[:, i], (test[:, i] - train[:, i].mean()) / train[:, i].std(), atol=1e-5)
  assert not a[:, 2].any() and not b[:, 2].any() and a.dtype == b.dtype == np.float32


def test_a_unit_that_hardly_ever_fires_decides_nothing():
  random = np.random.default_rng(2)
  train, test = random.normal(size=(500, 3)).astype(np.float32), random.normal(size=(20, 3)).astype(np.float32)
  train[:, 0] = np.arange(500) == 7  # once
  train[:, 1] = np.arange(500) % 50 == 7  # ten times
  test[0, 0] = 1.0
  a, b = lib.standardize(train, test)
  assert not a[:, 0].any() and not b[:, 0].any()
  assert a[:, 1:].std(axis=0) == pytest.approx(1, abs=1e-5)
  few, = lib.standardize(np.float32([[0], [0], [0], [0], [1]]))  # of five examples one may be a fifth of all there is to know
  assert few.std() == pytest.approx(1, abs=1e-5)


def test_missing_labels_are_left_out():
  assert lib.size(lib.labelled(example(), ["emotion"])) == 5
  both = lib.labelled(example(), ["emotion", "age"])
  np.testing.assert_array_equal(both.labels["age"], [1, 2, 3, 5])
  np.testing.assert_array_equal(both.blocks["depth"], example().blocks["depth"][[0, 1, 3, 5]])


def test_class_count_is_that_of_the_names_or_of_the_largest_value():
  first, second = example(), example(labels={"emotion": np.array([0, 4, -1, 0, 0, 0], np.int32)}, classes={})
  assert lib.class_count("emotion", first) == 2 and lib.class_count("emotion", first, second) == 5


def test_split_off():
  stays, held_out = lib.split_off(50, 0.2, 3)
  assert len(held_out) == 10 and sorted([*stays, *held_out]) == list(range(50))
  np.testing.assert_array_equal(held_out, lib.split_off(50, 0.2, 3)[1])
  assert set(held_out) != set(lib.split_off(50, 0.2, 4)[1])
  assert [len(part) for part in lib.split_off(2, 0.01, 0)] == [1, 1]


def broken(block, value):
  features = example()
  features.blocks[block][3, 1] = value
  return features


NOTHING = Features({"depth": np.zeros((0, 4), np.float32)}, {}, {})


@pytest.mark.parametrize("features, labels, message", [
    (broken("light", np.nan), [], "block 'light' are NaN or infinite for 1 of 6 examples of the val split"),
    (broken("depth", -np.inf), [], "block 'depth' are NaN or infinite"),
    (NOTHING, [], "the val split has no example"),
    (Features({}, {}, {}), [], "the val split has no example"),
    (example(), ["beard"], "the val split has no label 'beard': it has age, emotion"),
    (example(labels={}), ["beard"], "no label 'beard': it has none"),
    (example(labels={"emotion": np.full(6, -1, np.int32)}), ["emotion"], "label 'emotion' is missing for every example of the val split"),
    (example(labels={"emotion": np.array([0, 0, 1, -1, 0, 0], np.int32)}), ["emotion"], "class 'glad' has fewer than 2 examples in"),
    (example(labels={"make": np.array([0, 7, 7, 0, 0, 3], np.int32)}), ["make"], "class '3' has fewer than 2 examples"),
])
def test_one_clear_line(features, labels, message):
  with pytest.raises(UserError, match=re.escape(message)) as error:
    lib.check(features, "val", labels, examples=2)
  assert "\n" not in str(error.value)


def test_what_is_right_passes():
  lib.check(example(), "val", ["emotion", "age"], examples=2)
  lib.check(example(labels={"emotion": np.array([0, 0, 1, -1, 0, 0], np.int32)}), "test", ["emotion"])  # enough to be tested on


def test_what_classification_needs():
  train, test = lib.classified(example(), example(), ["emotion"])
  assert lib.size(train) == lib.size(test) == 5
  with pytest.raises(UserError, match="label 'age' holds numbers"):
    lib.classified(example(), example(), ["age"])
  with pytest.raises(UserError, match="the test split has no example"):
    lib.classified(example(), NOTHING, ["emotion"])
  with pytest.raises(UserError, match="same value in the whole train split"):
    lib.classified(example(labels={"emotion": np.zeros(6, np.int32)}), example(), ["emotion"])
  never = {"emotion": np.array([0, 0, 0, -1, -1, -1], np.int32), "beard": np.array([-1, -1, -1, 0, 0, 0], np.int32)}
  with pytest.raises(UserError, match="the train split has no example"):
    lib.classified(example(labels=never), example(labels=never), ["emotion", "beard"])
