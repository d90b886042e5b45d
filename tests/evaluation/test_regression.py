"""Regression: the whole protocol against scikit-learn and SciPy; sentinels; what cannot be predicted."""

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, r2_score
from support.results import mean, score, through_json

from pdr_jax.errors import UserError
from pdr_jax.evaluation.features import Features
from pdr_jax.evaluation.probes import ridge
from pdr_jax.evaluation.tasks import regression
from pdr_jax.metrics.samples import split_off, standardize


def ages(kind: str, seed: int, count: int = 120) -> Features:
  """Ages that a direction of the block tells, up to noise; of "shuffled" features, those of other people."""
  random = np.random.default_rng(seed)
  direction = np.random.default_rng(9).normal(size=8)
  inputs = random.normal(size=(count, 8))
  age = 40 + inputs @ direction * 4 + (8 * random.normal(size=count) if kind == "noisy" else 0)
  inputs = {"shuffled": random.permutation(inputs), "constant": np.ones_like(inputs)}.get(kind, inputs)
  return Features({"depth": inputs.astype(np.float32)}, {"age": age}, {})


def test_the_protocol_against_scikit_learn_and_scipy(tmp_path):
  train, test = ages("noisy", 0), ages("noisy", 1)
  result = through_json(regression.regression(train, test, "age", seeds=(0, 1, 2)), tmp_path)
  assert [given.values.shape for given in result.outcomes.values()] == [(3, 1, 120)] * 3
  inputs, test_inputs = standardize(train.blocks["depth"], test.blocks["depth"])
  target, truth = train.labels["age"], test.labels["age"]
  for i, seed in enumerate((0, 1, 2)):
    fitted, chosen = split_off(120, ridge.HELD_OUT, seed)

    def model(l2, rows):
      return Ridge(alpha=l2 * len(rows)).fit(inputs[rows].astype(np.float64), target[rows])

    best = max(ridge.L2, key=lambda l2: r2_score(target[chosen], model(l2, fitted).predict(inputs[chosen])))
    assert result.details["l2"]["depth"][i] == pytest.approx(best)
    predicted = model(best, np.arange(120)).predict(test_inputs.astype(np.float64))
    # Two closed forms of the same problem in float64: sums of 120 terms of at most 100.
    for metric, expected in (
      ("mean_absolute_error", mean_absolute_error(truth, predicted)),
      ("r2", r2_score(truth, predicted)),
      ("spearman", stats.spearmanr(truth, predicted).statistic),
    ):
      assert score(result, "depth", metric).values[i] == pytest.approx(expected, abs=1e-8)
  guess = np.full(120, target.mean())
  assert mean(result, regression.MEAN, "mean_absolute_error") == pytest.approx(
    mean_absolute_error(truth, guess)
  )
  directions = {entry.metric: entry.direction for entry in result.scores}
  assert directions == {"mean_absolute_error": "lower", "r2": "higher", "spearman": "higher"}


@pytest.mark.parametrize(
  "kind, low, high", [("perfect", 0.999, 1.0), ("shuffled", -0.3, 0.2), ("constant", -0.1, 0.0)]
)
def test_sentinels(kind, low, high):
  result = regression.regression(ages(kind, 0), ages(kind, 1), "age", seeds=[0])
  assert low <= mean(result, "depth", "r2") <= high
  assert kind != "constant" or mean(result, "depth", "spearman") == 0


def test_what_is_missing_does_not_count():
  """Whatever value stands there."""
  train, test = ages("perfect", 0), ages("perfect", 1)
  rows = np.arange(120)
  train, test = train._replace(missing={"age": rows < 20}), test._replace(missing={"age": rows % 2 == 0})
  train.labels["age"][:20], test.labels["age"][::2] = np.nan, 1e9
  result = regression.regression(train, test, "age", seeds=[0])
  assert (result.protocol["train"], result.protocol["test"]) == (100, 60)
  assert mean(result, "depth", "r2") > 0.999


def test_what_cannot_be_predicted_is_said():
  part = ages("perfect", 0)
  classes = part._replace(labels={"age": np.zeros(120, np.int32)})
  with pytest.raises(UserError, match="label 'age' holds classes, not numbers"):
    regression.regression(classes, classes, "age")
  same = part._replace(labels={"age": np.ones(120)})
  with pytest.raises(UserError, match="same value in the whole train split"):
    regression.regression(same, part, "age")
  with pytest.raises(
    UserError, match="NaN or infinite for 1 examples of the test split that are not marked as missing"
  ):
    broken = part._replace(labels={"age": np.where(np.arange(120) == 3, np.nan, 1.0)})
    regression.regression(part, broken, "age")
  few = part._replace(missing={"age": np.arange(120) > 2})
  with pytest.raises(UserError, match="the train split has 3 examples of it, and 5 are needed"):
    regression.regression(few, part, "age")
