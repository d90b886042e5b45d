"""Selection, missing labels and the one-line errors of features that no task can use."""

import re

import numpy as np
import pytest

from pdr_jax.errors import UserError
from pdr_jax.evaluation import features as lib
from pdr_jax.evaluation.features import Features


def example(**changes):
  random = np.random.default_rng(0)
  blocks = {
    "depth": random.normal(size=(6, 2)).astype(np.float32),
    "light": random.normal(size=(6, 3)).astype(np.float32),
  }
  labels = {
    "emotion": np.array([0, 1, 0, 1, 9, 0], np.int32),
    "age": np.array([1, 2, 7, 3, 4, 5], np.float64),
  }
  missing = {"emotion": np.arange(6) == 4, "age": np.arange(6) == 2}  # whatever the values there
  return Features(blocks, labels, {"emotion": ("sad", "glad")}, missing)._replace(**changes)


def only(**labels):
  """The example with other labels, of which nothing is missing."""
  return example(labels={name: np.asarray(values, np.int32) for name, values in labels.items()}, missing={})


def test_select_is_concatenation_in_the_order_of_the_names():
  features = example()
  result = lib.select(features, ["light", "depth"])
  assert result.shape == (6, 5) and result.dtype == np.float32
  np.testing.assert_array_equal(result[:, :3], features.blocks["light"])
  np.testing.assert_array_equal(result[:, 3:], features.blocks["depth"])


@pytest.mark.parametrize(
  "blocks, expected",
  [
    (["depth", "albedo", "light"], {"depth": 1, "albedo": 1, "light": 1, "depth+albedo": 2, "all": 3}),
    (["depth", "albedo"], {"depth": 1, "albedo": 1, "depth+albedo": 2}),  # all would be the same again
    (["albedo", "depth"], {"depth": 1, "albedo": 1, "depth+albedo": 2}),
    (["depth", "light"], {"depth": 1, "light": 1, "all": 2}),
    (["latent"], {"latent": 1}),
    (["latent", "normalized"], {"latent": 1, "normalized": 1, "all": 2}),
    (
      ["depth", "light", "normalized", "normalized_full"],
      {"depth": 1, "light": 1, "normalized": 1, "normalized_full": 1, "encoder": 2, "all": 3},
    ),
  ],
)
def test_subsets(blocks, expected):
  result = lib.subsets(dict.fromkeys(blocks))
  assert {name: len(subset) for name, subset in result.items()} == expected
  assert all(set(subset) <= set(blocks) for subset in result.values())
  assert result.get("depth+albedo", ("depth", "albedo")) == ("depth", "albedo")


def test_missing_labels_are_left_out():
  assert lib.size(lib.labelled(example(), ["emotion"])) == 5
  both = lib.labelled(example(), ["emotion", "age"])
  np.testing.assert_array_equal(both.labels["age"], [1, 2, 3, 5])
  np.testing.assert_array_equal(both.blocks["depth"], example().blocks["depth"][[0, 1, 3, 5]])
  assert not both.missing["emotion"].any() and len(both.missing["age"]) == 4


def test_minus_one_and_nan_are_values_like_others():
  """They mean nothing: only the mask says what is missing."""
  part = example(labels={"age": np.array([-1.0, 2, 3, -1, 5, 6])}, missing={})
  lib.check(part, "val", ["age"])
  assert lib.size(lib.labelled(part, ["age"])) == 6
  with pytest.raises(
    UserError, match="label 'emotion' has the class -1 in the val split: classes count from 0"
  ):
    lib.check(only(emotion=[0, 1, 0, 1, -1, 0]), "val", ["emotion"])


def test_concatenation_keeps_what_is_missing():
  first = lib.take(example(), np.arange(3))
  second = only(emotion=[1] * 6)._replace(labels={"emotion": np.ones(6, np.int32), "age": np.ones(6)})
  result = lib.concatenate(first, second)
  assert lib.size(result) == 9 and result.missing["age"].tolist() == [False, False, True] + [False] * 6
  np.testing.assert_array_equal(result.labels["emotion"], [0, 1, 0, 1, 1, 1, 1, 1, 1])


def test_class_count_is_that_of_the_names_or_of_the_largest_value():
  first, second = example(), only(emotion=[0, 4, 0, 0, 0, 0])._replace(classes={})
  assert lib.class_count("emotion", first) == 2 and lib.class_count("emotion", first, second) == 5


def broken(block, value):
  features = example()
  features.blocks[block][3, 1] = value
  return features


NOTHING = Features({"depth": np.zeros((0, 4), np.float32)}, {}, {})


@pytest.mark.parametrize(
  "features, labels, message",
  [
    (broken("light", np.nan), [], "block 'light' are NaN or infinite for 1 of 6 examples of the val split"),
    (broken("depth", -np.inf), [], "block 'depth' are NaN or infinite"),
    (NOTHING, [], "the val split has no example"),
    (Features({}, {}, {}), [], "the val split has no example"),
    (example(), ["beard"], "the val split has no label 'beard': it has age, emotion"),
    (example(labels={}, missing={}), ["beard"], "no label 'beard': it has none"),
    (
      example(missing={"emotion": np.ones(6, bool)}),
      ["emotion"],
      "label 'emotion' is missing for every example of the val split",
    ),
    (
      example(
        labels={"emotion": np.array([0, 0, 1, 1, 0, 0], np.int32)}, missing={"emotion": np.arange(6) == 3}
      ),
      ["emotion"],
      "class 'glad' has fewer than 2 examples in",
    ),
    (only(make=[0, 7, 7, 0, 0, 3]), ["make"], "class '3' has fewer than 2 examples"),
  ],
)
def test_one_clear_line(features, labels, message):
  with pytest.raises(UserError, match=re.escape(message)) as error:
    lib.check(features, "val", labels, examples=2)
  assert "\n" not in str(error.value)


def test_what_is_right_passes():
  lib.check(example(), "val", ["emotion", "age"], examples=2)
  lib.check(only(emotion=[0, 0, 1, 0, 0, 0]), "test", ["emotion"])  # enough to be tested on


def test_what_classification_needs():
  train, test = lib.classified(example(), example(), ["emotion"])
  assert lib.size(train) == lib.size(test) == 5
  with pytest.raises(UserError, match="label 'age' holds numbers"):
    lib.classified(example(), example(), ["age"])
  with pytest.raises(UserError, match="the test split has no example"):
    lib.classified(example(), NOTHING, ["emotion"])
  with pytest.raises(UserError, match="same value in the whole train split"):
    lib.classified(only(emotion=[0] * 6), example(), ["emotion"])
  never = only(emotion=[0] * 6, beard=[0] * 6)
  never = never._replace(missing={"emotion": np.arange(6) < 3, "beard": np.arange(6) >= 3})
  with pytest.raises(UserError, match="the train split has no example"):
    lib.classified(never, never, ["emotion", "beard"])
