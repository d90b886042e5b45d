"""Scores of clusters against all permutations, loops over pairs, and cases by hand."""

import itertools

import numpy as np
import pytest

from pdr_jax.metrics.clustering import clustering


def test_clustering_assignment_against_all_permutations():
  random = np.random.default_rng(1)
  truth = random.integers(0, 4, 80)
  clusters = np.where(random.uniform(size=80) < 0.5, (truth + 1) % 4, random.integers(0, 4, 80))
  best = max(itertools.permutations(range(4)), key=lambda names: np.mean(np.array(names)[clusters] == truth))
  predicted = np.array(best)[clusters]
  f1 = [
    2 * np.sum((truth == k) & (predicted == k)) / (np.sum(truth == k) + np.sum(predicted == k))
    for k in range(4)
  ]
  actual = clustering(truth, clusters)
  assert (
    actual["accuracy"] == pytest.approx(np.mean(predicted == truth))
    and actual["accuracy"] > np.mean(clusters == truth) + 0.2
  )
  assert actual["macro_f1"] == pytest.approx(np.mean(f1))
  assert actual["weighted_f1"] == pytest.approx(np.dot(f1, np.bincount(truth)) / 80)
  purity = sum(np.bincount(truth[clusters == c]).max() for c in range(4)) / 80
  assert actual["purity"] == pytest.approx(purity)


def test_clustering_information_and_rand_against_loops():
  truth, clusters = np.array([5, 5, 5, 7, 7, 9, 9, 9]), np.array([2, 2, 0, 0, 0, 1, 1, 2])

  def entropy(*labels):
    pairs = list(zip(*labels, strict=True))
    return -sum(pairs.count(x) / 8 * np.log(pairs.count(x) / 8) for x in set(pairs))

  mutual = entropy(truth) + entropy(clusters) - entropy(truth, clusters)
  actual = clustering(truth, clusters)
  assert actual["nmi"] == pytest.approx(mutual / ((entropy(truth) + entropy(clusters)) / 2))
  pairs = list(itertools.combinations(range(8), 2))
  a, b = (np.array([labels[i] == labels[j] for i, j in pairs]) for labels in (truth, clusters))
  expected = a.sum() * b.sum() / len(pairs)
  assert actual["adjusted_rand"] == pytest.approx(
    ((a & b).sum() - expected) / ((a.sum() + b.sum()) / 2 - expected)
  )


def test_clustering_with_more_and_with_fewer_clusters_than_classes():
  truth = np.repeat([0, 1], 6)
  split = clustering(truth, np.array([0, 0, 0, 0, 3, 3, 1, 1, 1, 1, 1, 1]))
  assert (
    split["accuracy"] == pytest.approx(10 / 12) and split["purity"] == 1.0
  )  # the cluster left over is wrong, but pure
  assert split["macro_f1"] == pytest.approx((2 * 4 / (6 + 4) + 1) / 2)
  one = clustering(truth, np.zeros(12, int))
  assert one["accuracy"] == one["purity"] == 0.5 and one["nmi"] == one["adjusted_rand"] == 0.0
