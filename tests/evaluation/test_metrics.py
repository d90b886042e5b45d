"""Scores against hand-computed cases, naive loops, and what chance and perfection must give."""

import itertools

import numpy as np
import pytest

from pdr_jax.evaluation import metrics


def test_classification_by_hand():
  truth, predicted = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 0])
  found = metrics.classification(truth, predicted, np.array([0.1, 0.2, 0.3, 0.8, 0.9, 0.4])[:, None])
  assert found["accuracy"] == pytest.approx(4 / 6)
  assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
  assert found["macro_f1"] == pytest.approx((3 / 4 + 1 / 2) / 2)  # class 0: precision 3/4, recall 3/4; class 1: 1/2, 1/2
  assert found["average_precision"] == pytest.approx((1 / 1 + 2 / 3) / 2)  # positives are first and third of the ranking


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
    precisions.append(np.mean([ranked[:i + 1].mean() for i in np.flatnonzero(ranked)]))
  found = metrics.classification(truth, predicted, scores)
  assert found["accuracy"] == pytest.approx(np.mean(truth == predicted))
  assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))
  assert found["macro_f1"] == pytest.approx(np.mean(f1s))
  assert found["average_precision"] == pytest.approx(np.mean(precisions))


def test_average_precision_without_a_positive_is_zero():
  assert metrics.average_precision(np.zeros(3, np.int32), np.array([[0.1], [0.2], [0.3]])) == 0.0


def test_perfect_and_constant_predictions():
  truth = np.repeat([0, 1, 2], 10)
  perfect = metrics.classification(truth, truth, np.eye(3)[truth])
  assert set(perfect.values()) == {1.0}
  constant = metrics.classification(truth, np.zeros_like(truth), np.ones((30, 3)))
  assert constant["accuracy"] == constant["balanced_accuracy"] == constant["average_precision"] == pytest.approx(1 / 3)
  assert constant["macro_f1"] == pytest.approx(0.5 / 3)


def test_clustering_assignment_against_all_permutations():
  random = np.random.default_rng(1)
  truth = random.integers(0, 4, 80)
  clusters = np.where(random.uniform(size=80) < 0.5, (truth + 1) % 4, random.integers(0, 4, 80))
  best = max(itertools.permutations(range(4)), key=lambda names: np.mean(np.array(names)[clusters] == truth))
  predicted = np.array(best)[clusters]
  f1 = [2 * np.sum((truth == k) & (predicted == k)) / (np.sum(truth == k) + np.sum(predicted == k)) for k in range(4)]
  found = metrics.clustering(truth, clusters)
  assert found["accuracy"] == pytest.approx(np.mean(predicted == truth)) and found["accuracy"] > np.mean(clusters == truth) + 0.2
  assert found["macro_f1"] == pytest.approx(np.mean(f1))
  assert found["weighted_f1"] == pytest.approx(np.dot(f1, np.bincount(truth)) / 80)
  assert found["purity"] == pytest.approx(sum(np.bincount(truth[clusters == c]).max() for c in range(4)) / 80)


def test_clustering_information_and_rand_against_loops():
  truth, clusters = np.array([5, 5, 5, 7, 7, 9, 9, 9]), np.array([2, 2, 0, 0, 0, 1, 1, 2])
  def entropy(*labels):
    pairs = list(zip(*labels, strict=True))
    return -sum(pairs.count(x) / 8 * np.log(pairs.count(x) / 8) for x in set(pairs))
  mutual = entropy(truth) + entropy(clusters) - entropy(truth, clusters)
  found = metrics.clustering(truth, clusters)
  assert found["nmi"] == pytest.approx(mutual / ((entropy(truth) + entropy(clusters)) / 2))
  pairs = list(itertools.combinations(range(8), 2))
  a, b = (np.array([labels[i] == labels[j] for i, j in pairs]) for labels in (truth, clusters))
  expected = a.sum() * b.sum() / len(pairs)
  assert found["adjusted_rand"] == pytest.approx(((a & b).sum() - expected) / ((a.sum() + b.sum()) / 2 - expected))


def test_clustering_with_more_and_with_fewer_clusters_than_classes():
  truth = np.repeat([0, 1], 6)
  split = metrics.clustering(truth, np.array([0, 0, 0, 0, 3, 3, 1, 1, 1, 1, 1, 1]))
  assert split["accuracy"] == pytest.approx(10 / 12) and split["purity"] == 1.0  # the cluster left over is wrong, but pure
  assert split["macro_f1"] == pytest.approx((2 * 4 / (6 + 4) + 1) / 2)
  one = metrics.clustering(truth, np.zeros(12, int))
  assert one["accuracy"] == one["purity"] == 0.5 and one["nmi"] == one["adjusted_rand"] == 0.0


def test_verification_against_loops():
  random = np.random.default_rng(2)
  same = random.uniform(size=3000) < 0.4
  similarity = np.round(random.normal(size=3000) + 2 * same, 2)  # with ties
  found = metrics.verification(same, similarity)
  wins = similarity[same][:, None] - similarity[~same][None]
  assert found["roc_auc"] == pytest.approx(np.mean(wins > 0) + 0.5 * np.mean(wins == 0))
  for rate in (1e-2, 1e-3):
    accepted = [similarity >= threshold for threshold in [*np.unique(similarity), np.inf]]
    expected = max(a[same].mean() for a in accepted if a[~same].mean() <= rate)
    assert found[f"tar_at_far_1e-{round(-np.log10(rate))}"] == pytest.approx(expected)
  assert found["tar_at_far_1e-3"] < found["tar_at_far_1e-2"]


def test_verification_sentinels():
  same = np.arange(100) % 2 == 0
  assert set(metrics.verification(same, same.astype(float)).values()) == {1.0}
  assert metrics.verification(same, np.ones(100)) == {"roc_auc": 0.5, "tar_at_far_1e-2": 0.0, "tar_at_far_1e-3": 0.0}


def test_segmentation_against_a_loop_over_pixels():
  random = np.random.default_rng(3)
  truth = random.choice([-1, 0, 1, 3], (4, 6, 6), p=[0.1, 0.5, 0.3, 0.1])  # class 2 does not occur; -1 is unlabelled
  predicted = np.where(random.uniform(size=truth.shape) < 0.6, np.maximum(truth, 0), random.integers(0, 4, truth.shape))
  counts = metrics.confusion(truth[:2], predicted[:2], 4) + metrics.confusion(truth[2:], predicted[2:], 4)
  expected = np.zeros((4, 4), int)
  for t, p in zip(truth.ravel(), predicted.ravel(), strict=True):
    if t >= 0:
      expected[t, p] += 1
  np.testing.assert_array_equal(counts, expected)
  known = truth >= 0
  iou = {k: np.sum(known & (truth == k) & (predicted == k)) / np.sum(known & ((truth == k) | (predicted == k))) for k in (0, 1, 3)}
  found = metrics.segmentation(counts)
  assert found["iou"] == [pytest.approx(iou[0]), pytest.approx(iou[1]), None, pytest.approx(iou[3])]
  assert found["miou"] == pytest.approx(np.mean(list(iou.values())))
  assert found["pixel_accuracy"] == pytest.approx(np.mean(truth[known] == predicted[known]))


def test_over_seeds():
  found = metrics.over_seeds([{"a": 1.0}, {"a": 2.0}, {"a": 6.0}])["a"]
  assert found == {"mean": 3.0, "std": pytest.approx(7**0.5), "per_seed": [1.0, 2.0, 6.0]}
  assert metrics.over_seeds([{"a": 0.5}])["a"] == {"mean": 0.5, "std": None, "per_seed": [0.5]}
