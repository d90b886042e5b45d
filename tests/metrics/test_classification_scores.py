"""Scores of classification by hand, against naive loops, and what chance and perfection must give."""

import numpy as np
import pytest

from pdr_jax.metrics import classification as metrics


def test_classification_by_hand():
  truth, predicted = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 0])
  actual = metrics.classification(truth, predicted, np.array([0.1, 0.2, 0.3, 0.8, 0.9, 0.4])[:, None])
  assert actual["accuracy"] == pytest.approx(4 / 6)
  assert actual["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
  assert actual["macro_f1"] == pytest.approx(
    (3 / 4 + 1 / 2) / 2
  )  # class 0: precision 3/4, recall 3/4; class 1: 1/2, 1/2
  assert actual["average_precision"] == pytest.approx(
    (1 / 1 + 2 / 3) / 2
  )  # positives are first and third of the ranking


def test_classification_of_several_classes_against_a_loop():
  random = np.random.default_rng(0)
  truth = random.choice([0, 1, 3], 60)  # class 2 does not occur, but is predicted
  scores = random.normal(size=(60, 4)) + 1.5 * np.eye(4)[truth]
  predicted = scores.argmax(axis=1)
  assert (predicted == 2).any()
  recalls, f1s, precisions = [], [], []
  for k in (0, 1, 3):
    right = sum(t == p == k for t, p in zip(truth, predicted, strict=True))
    recalls.append(right / sum(truth == k))
    f1s.append(2 * right / (sum(truth == k) + sum(predicted == k)))
    ranked = truth[np.argsort(-scores[:, k])] == k
    precisions.append(np.mean([ranked[: i + 1].mean() for i in np.flatnonzero(ranked)]))
  actual = metrics.classification(truth, predicted, scores)
  assert actual["accuracy"] == pytest.approx(np.mean(truth == predicted))
  assert actual["balanced_accuracy"] == pytest.approx(np.mean(recalls))
  assert actual["macro_f1"] == pytest.approx(np.mean(f1s))
  assert actual["average_precision"] == pytest.approx(np.mean(precisions))


def test_average_precision_without_a_positive_is_zero():
  assert metrics.average_precision(np.zeros(3, np.int32), np.array([[0.1], [0.2], [0.3]])) == 0.0


def test_perfect_and_constant_predictions():
  truth = np.repeat([0, 1, 2], 10)
  perfect = metrics.classification(truth, truth, np.eye(3)[truth])
  assert set(perfect.values()) == {1.0}
  constant = metrics.classification(truth, np.zeros_like(truth), np.ones((30, 3)))
  assert (
    constant["accuracy"]
    == constant["balanced_accuracy"]
    == constant["average_precision"]
    == pytest.approx(1 / 3)
  )
  assert constant["macro_f1"] == pytest.approx(0.5 / 3)
