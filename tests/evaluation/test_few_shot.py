"""Few-shot curves: what is drawn, sentinels, and nearest neighbours against a loop."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from support.results import mean, metrics, score, through_json
from support.toy_features import KINDS, clumps, one_block

from pdr_jax.errors import UserError
from pdr_jax.evaluation.tasks import few_shot
from pdr_jax.metrics.samples import standardize


def split(kind, seed):
  who = np.random.default_rng(seed).permutation(np.repeat([0, 1, 2, 3], 30))
  return one_block(clumps(kind, who, seed))


@pytest.mark.parametrize("kind", KINDS)
def test_sentinels(kind, tmp_path):
  result = few_shot.few_shot(split(kind, 0), split(kind, 1), "who", shots=(1, 5, 100), draws=range(4))
  result = through_json(result, tmp_path)
  assert result.protocol["shots"] == [1, 5] and result.protocol["shots_left_out"] == [100]
  groups = {metric.rpartition("/")[0] for metric in metrics(result, "depth")}
  assert groups == {"logistic/1", "logistic/5", "knn/1", "knn/5", "knn/all"}
  low, high = {"perfect": (0.98, 1.0), "shuffled": (0.1, 0.4), "constant": (0.25, 0.25)}[kind]
  for group in groups:
    assert low <= mean(result, "depth", f"{group}/balanced_accuracy") <= high, (kind, group)
    accuracy = score(result, "depth", f"{group}/accuracy")
    assert len(accuracy.values) == (1 if group == "knn/all" else 4)
    assert accuracy.place == {"1": 1.0, "5": 5.0, "all": None}[group.partition("/")[2]]
  headlines = {entry.headline for entry in result.scores if entry.headline}
  assert headlines == {"who, 5 labels a class, accuracy", "who, nearest neighbours, accuracy"}


def test_more_labels_help_and_draws_differ():
  train, test = split("perfect", 0), split("perfect", 1)
  for part in (train, test):
    noise = np.random.default_rng(len(part.labels)).normal(size=part.blocks["depth"].shape)
    part.blocks["depth"] += noise.astype(np.float32) * 4
  result = few_shot.few_shot(train, test, "who", shots=(1, 25), draws=range(6))
  for solver in ("logistic", "knn"):
    few, many = (mean(result, "depth", f"{solver}/{shots}/accuracy") for shots in (1, 25))
    assert many > few + 0.05
    assert len(set(score(result, "depth", f"{solver}/1/accuracy").values)) > 1
  assert result == few_shot.few_shot(train, test, "who", shots=(1, 25), draws=range(6))


def test_draw():
  labels = np.random.default_rng(0).choice([0, 2, 5], 200)
  rows, rank = few_shot.draw(labels, 10, seed=3)
  assert len(set(rows)) == 30
  for n in (1, 4, 10):
    np.testing.assert_array_equal(
      np.unique(labels[rows[rank < n]], return_counts=True), [[0, 2, 5], [n, n, n]]
    )
  assert set(rows) != set(few_shot.draw(labels, 10, seed=4)[0])
  np.testing.assert_array_equal(rows, few_shot.draw(labels, 10, seed=3)[0])


def test_logistic_uses_the_drawn_labels_only():
  """The same as scikit-learn on just these examples."""
  train, test = split("shuffled", 0), split("shuffled", 1)
  result = few_shot.few_shot(train, test, "who", shots=(3, 8), draws=[5])
  inputs, queries = standardize(train.blocks["depth"], test.blocks["depth"])
  rows, rank = few_shot.draw(train.labels["who"], 8, 5)
  for n in (3, 8):
    few = rows[rank < n]
    solver = LogisticRegression(C=1 / (few_shot.L2 * len(few)), tol=1e-8, solver="newton-cholesky")
    expected = solver.fit(inputs[few], train.labels["who"][few]).score(queries, test.labels["who"])
    # One example of 120 may fall either way.
    assert mean(result, "depth", f"logistic/{n}/accuracy") == pytest.approx(expected, abs=0.009)


def test_nearest_neighbours_against_a_loop():
  random = np.random.default_rng(4)
  inputs, labels = random.normal(size=(40, 5)).astype(np.float32), random.choice([0, 1, 3], 40)
  queries, truth = random.normal(size=(25, 5)).astype(np.float32), random.choice([0, 1, 3], 25)
  for neighbours in (1, 4):
    right = []
    for example, label in zip(queries, truth, strict=True):
      similarity = inputs @ example / np.linalg.norm(inputs, axis=1) / np.linalg.norm(example)
      nearest = np.argsort(-similarity)[:neighbours]
      votes = [sum(1 / (1 - similarity[i]) for i in nearest if labels[i] == k) for k in range(4)]
      right.append(np.argmax(votes) == label)
    votes = few_shot.nearest_neighbours(inputs, labels, queries, truth, neighbours)
    assert np.mean(votes.argmax(axis=1) == truth) == pytest.approx(np.mean(right))


def test_too_few_examples_of_a_class():
  with pytest.raises(
    UserError, match="smallest class has 30 training examples, fewer than each of the shots 50, 100"
  ):
    few_shot.few_shot(split("perfect", 0), split("perfect", 1), "who", shots=(50, 100))
