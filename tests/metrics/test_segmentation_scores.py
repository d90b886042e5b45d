"""Scores of segmentation against a loop over pixels and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from pdr_jax.metrics.classification import confusion
from pdr_jax.metrics.segmentation import segmentation


def test_segmentation_against_a_loop_over_pixels():
  random = np.random.default_rng(3)
  truth = random.choice(
    [-1, 0, 1, 3], (4, 6, 6), p=[0.1, 0.5, 0.3, 0.1]
  )  # class 2 does not occur; -1 is unlabelled
  predicted = np.where(
    random.uniform(size=truth.shape) < 0.6, np.maximum(truth, 0), random.integers(0, 4, truth.shape)
  )
  counts = confusion(truth[:2], predicted[:2], 4) + confusion(truth[2:], predicted[2:], 4)
  expected = np.zeros((4, 4), int)
  for t, p in zip(truth.ravel(), predicted.ravel(), strict=True):
    if t >= 0:
      expected[t, p] += 1
  np.testing.assert_array_equal(counts, expected)
  known = truth >= 0
  iou = {
    k: np.sum(known & (truth == k) & (predicted == k)) / np.sum(known & ((truth == k) | (predicted == k)))
    for k in (0, 1, 3)
  }
  actual = segmentation(counts)
  assert actual["iou"] == [pytest.approx(iou[0]), pytest.approx(iou[1]), None, pytest.approx(iou[3])]
  assert actual["miou"] == pytest.approx(np.mean(list(iou.values())))
  assert actual["pixel_accuracy"] == pytest.approx(np.mean(truth[known] == predicted[known]))


def test_scores_of_summed_batches_against_scikit_learn():
  random = np.random.default_rng(0)
  truth, actual = random.integers(-1, 5, (6, 8, 8)), random.integers(0, 5, (6, 8, 8))
  truth[truth == 3] = 2  # class 3 is never there, but called
  counts = sum(confusion(truth[i : i + 2], actual[i : i + 2], 5) for i in (0, 2, 4))
  known = truth >= 0
  np.testing.assert_array_equal(counts, confusion_matrix(truth[known], actual[known], labels=range(5)))
  scores = segmentation(counts)
  expected = jaccard_score(truth[known], actual[known], labels=[0, 1, 2, 4], average=None)
  np.testing.assert_allclose(
    [scores["iou"][k] for k in (0, 1, 2, 4)], expected, rtol=1e-12
  )  # ratios of counts
  assert scores["iou"][3] is None and scores["miou"] == pytest.approx(expected.mean())
  assert scores["pixel_accuracy"] == pytest.approx(np.mean(truth[known] == actual[known]))
