"""A light probe at each validation: does the representation still get better with more training?

A linear probe learns the data's class labels from the features of a few hundred training examples, and is
tested on as many of validation. It is cheap and rough; `pdr_jax.evaluate` measures. Nothing of it goes into
the training.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from pdr_jax import methods
from pdr_jax.data import pipeline, transforms
from pdr_jax.errors import UserError
from pdr_jax.methods import Method, inference_variables
from pdr_jax.metrics import ridge
from pdr_jax.metrics.samples import standardize
from pdr_jax.training import step as steps

METRIC = "val/probe"
L2 = 0.1  # of the mean squared error; features are standardised
_STREAM = 7


class Part(NamedTuple):
  """Some examples of a split: what the method encodes, and each label's class, -1 where it is missing."""

  inputs: np.ndarray
  labels: dict[str, Int[np.ndarray, " N"]]


def create(config: ConfigDict, method: Method) -> Callable[[Any], dict[str, float]] | None:
  """`state -> {"val/probe": the mean over labels of the balanced accuracy}`.

  None where `train.probe_examples` is 0. Raises `UserError` for data without a label of classes that both
  splits have, a method without features, and several processes.
  """
  count = config.train.probe_examples
  if not count:
    return None
  if jax.process_count() > 1:
    raise UserError("config.train.probe_examples: the light probe runs in one process; set it to 0")
  train, test = (read(config, split, count) for split in ("train", "validation"))
  names = [name for name in train.labels if _can_be_probed(train.labels[name], test.labels[name])]
  if not names or method.encode is None:
    lack = "the method has no features" if names else f"{config.data.name} has no label of classes to probe"
    raise UserError(f"config.train.probe_examples = {count}: {lack}; set it to 0")
  encode, size = jax.jit(method.encode), config.train.batch_size

  def features(variables: dict, inputs: np.ndarray) -> Float[np.ndarray, "N D"]:
    rows = []
    for start in range(0, len(inputs), size):
      blocks = encode(variables, _filled(inputs[start : start + size], size))
      whole = [np.asarray(block, np.float32).reshape(size, -1) for block in blocks.values()]
      rows.append(np.concatenate(whole, axis=1))
    return np.concatenate(rows)[: len(inputs)]

  def probe(state: Any) -> dict[str, float]:
    # One device is enough.
    variables = steps.on_one_device(inference_variables(state))
    known, asked = features(variables, train.inputs), features(variables, test.inputs)
    scores = [_score(known, train.labels[name], asked, test.labels[name]) for name in names]
    return {METRIC: float(np.mean(scores))}

  return probe


def read(config: ConfigDict, split: str, count: int) -> Part:
  """At most `count` examples of a split, chosen by the run's seed."""
  description = methods.describe(config.method)
  spec = pipeline.published(config, description.reads(config))
  data = pipeline.open_dataset(config)
  chosen = {"train": data.train, "validation": data.validation}[split]
  rows = np.random.default_rng([config.seed, _STREAM]).permutation(chosen.size)[:count]
  named = [key for key, element in spec.items() if key.startswith("label/") and element.shape == ()]
  classes = [key for key in named if np.issubdtype(np.dtype(spec[key].dtype), np.integer)]
  missing = [key for key in (f"missing/{name.removeprefix('label/')}" for name in classes) if key in spec]
  wanted = {key: spec[key] for key in (description.input, *classes, *missing)}
  batch = transforms.to_spec(chosen.load(np.sort(rows), wanted.keys()), wanted)
  labels = {}
  for key in classes:
    name = key.removeprefix("label/")
    absent = np.asarray(batch.get(f"missing/{name}", np.zeros(len(rows), bool)), bool)
    labels[name] = np.where(absent, -1, batch[key]).astype(np.int32)
  return Part(batch[description.input], labels)


def _can_be_probed(train: Int[np.ndarray, " N"], test: Int[np.ndarray, " M"]) -> bool:
  """Whether train has two classes, and test has one of them (which is not so of people kept apart)."""
  known = np.unique(train[train >= 0])
  return len(known) > 1 and bool(np.isin(test, known).any())


def _score(
    train: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    test: Float[np.ndarray, "M D"],
    truth: Int[np.ndarray, " M"],
) -> float:
  """Balanced accuracy of ridge regression on classes of 0 and 1, on test examples whose class train has."""
  classes = np.unique(labels[labels >= 0])
  known, asked = labels >= 0, np.isin(truth, classes)
  inputs, queries = standardize(train[known], test[asked])
  targets = np.searchsorted(classes, labels[known])
  fit = ridge.fit(inputs, np.eye(len(classes))[targets], (L2,))
  scores = queries @ fit.coefficients[0].T + fit.intercepts[0]
  expected = np.searchsorted(classes, truth[asked])
  from pdr_jax.metrics.classification import decisions  # scikit-learn takes seconds to import

  return decisions(expected, scores.argmax(axis=1))["balanced_accuracy"]


def _filled(inputs: np.ndarray, size: int) -> np.ndarray:
  """Repeats the first example up to `size`: one program for all."""
  return np.concatenate([inputs, np.repeat(inputs[:1], size - len(inputs), axis=0)])
