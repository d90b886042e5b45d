"""Scores of classification, as plain floats in [0, 1].

Scikit-learn computes what it has, but for what a confusion matrix gives at once.
"""

import numpy as np
from jaxtyping import Int, Num
from sklearn import metrics


def classification(
    truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], scores: Num[np.ndarray, "N K"]
) -> dict[str, float]:
  """Accuracy, balanced accuracy, macro F1 and average precision.

  `scores` of K classes: larger is likelier; K = 1 for a binary label, then of class 1. Average precision is
  that of class 1 for a binary label and otherwise the mean over one class against the rest. Means over
  classes go over those that occur in `truth`.
  """
  return decisions(truth, predicted) | {"average_precision": average_precision(truth, scores)}


def decisions(truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"]) -> dict[str, float]:
  """What of `classification` needs no scores."""
  counts = confusion(truth, predicted, int(max(truth.max(), predicted.max())) + 1)
  right = np.diagonal(counts)
  true = counts.sum(axis=1)
  called = counts.sum(axis=0)
  present = true > 0
  return {
      "accuracy": float(np.mean(truth == predicted)),
      "balanced_accuracy": float(np.mean(right[present] / true[present])),
      "macro_f1": float(np.mean(2 * right[present] / (true + called)[present])),
  }


def average_precision(truth: Int[np.ndarray, " N"], scores: Num[np.ndarray, "N K"]) -> float:
  """Area under precision over recall, as a sum of steps (no interpolation).

  A binary label without a positive scores 0.
  """
  if scores.shape[1] == 1:
    positive = truth == 1
    return float(metrics.average_precision_score(positive, scores[:, 0])) if positive.any() else 0.0
  each = [metrics.average_precision_score(truth == k, scores[:, k]) for k in np.unique(truth)]
  return float(np.mean(each))


def confusion(
    truth: Int[np.ndarray, "*shape"], predicted: Int[np.ndarray, "*shape"], classes: int
) -> Int[np.ndarray, "{classes} {classes}"]:
  """How many of the class of the row were called the class of the column. Counts of batches may be added up.

  What has a truth below 0 does not count.
  """
  known = truth >= 0
  pairs = classes * truth[known].astype(np.int64) + predicted[known]
  return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
