"""Scores of classification, clustering, verification and segmentation, as plain floats in [0, 1] (adjusted Rand: from -0.5).

Scikit-learn computes what it has, but for what a confusion matrix gives at once; the rest is written out here.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, Num
from scipy.optimize import linear_sum_assignment
from sklearn import metrics

FALSE_ACCEPT_RATES = {"tar_at_far_1e-2": 1e-2, "tar_at_far_1e-3": 1e-3}


def classification(truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], scores: Num[np.ndarray, "N K"]) -> dict[str, float]:
  """Accuracy, balanced accuracy, macro F1 and average precision.

  `scores` of K classes: larger is likelier; K = 1 for a binary label, then of class 1. Average precision is that of class 1 for a binary
  label and otherwise the mean over one class against the rest. Means over classes go over those that occur in `truth`.
  """
  return decisions(truth, predicted) | {"average_precision": average_precision(truth, scores)}


def decisions(truth: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"]) -> dict[str, float]:
  """What of `classification` needs no scores."""
  counts = confusion(truth, predicted, int(max(truth.max(), predicted.max())) + 1)
  right, true, called = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
  present = true > 0
  return {
      "accuracy": float(np.mean(truth == predicted)),
      "balanced_accuracy": float(np.mean(right[present] / true[present])),
      "macro_f1": float(np.mean(2 * right[present] / (true + called)[present])),
  }


def average_precision(truth: Int[np.ndarray, " N"], scores: Num[np.ndarray, "N K"]) -> float:
  """Area under precision over recall, as a sum of steps (no interpolation). A binary label without a positive scores 0."""
  if scores.shape[1] == 1:
    return float(metrics.average_precision_score(truth == 1, scores[:, 0])) if (truth == 1).any() else 0.0
  return float(np.mean([metrics.average_precision_score(truth == k, scores[:, k]) for k in np.unique(truth)]))


def clustering(truth: Int[np.ndarray, " N"], clusters: Int[np.ndarray, " N"]) -> dict[str, float]:
  """Scores of an assignment to clusters, whose numbers mean nothing.

  `accuracy`, `macro_f1` and `weighted_f1` follow the one-to-one assignment of clusters to classes that gets most examples right
  (Hungarian algorithm); clusters left over are wrong. `purity` gives each cluster its most frequent class. `nmi` is the mutual
  information over the arithmetic mean of the entropies. `adjusted_rand` is 0 for chance.
  """
  counts = metrics.cluster.contingency_matrix(truth, clusters)  # rows: classes that occur, sorted; columns: clusters likewise
  classes, names = np.unique(truth), np.unique(clusters)
  rows, columns = linear_sum_assignment(counts, maximize=True)
  assigned = np.full(len(names), classes.max() + 1)  # no class of its own
  assigned[columns] = classes[rows]
  predicted = assigned[np.searchsorted(names, clusters)]
  return {
      "accuracy": float(np.mean(predicted == truth)),
      "purity": float(counts.max(axis=0).sum() / counts.sum()),
      "nmi": float(metrics.normalized_mutual_info_score(truth, clusters)),
      "macro_f1": float(metrics.f1_score(truth, predicted, labels=classes, average="macro", zero_division=0)),
      "weighted_f1": float(metrics.f1_score(truth, predicted, labels=classes, average="weighted", zero_division=0)),
      "adjusted_rand": float(metrics.adjusted_rand_score(truth, clusters)),
  }


def verification(same: Bool[np.ndarray, " P"], similarity: Num[np.ndarray, " P"]) -> dict[str, float]:
  """Are two pictures of the same person? Area under the ROC curve, and the true accept rate at false accept rates of 1e-2 and 1e-3.

  The threshold is the most generous one whose false accept rate on these pairs does not exceed the given one.
  """
  false_accept, true_accept, _ = metrics.roc_curve(same, similarity, drop_intermediate=False)
  rates = {name: float(true_accept[false_accept <= rate].max()) for name, rate in FALSE_ACCEPT_RATES.items()}
  return {"roc_auc": float(metrics.auc(false_accept, true_accept)), **rates}


def confusion(truth: Int[np.ndarray, "..."], predicted: Int[np.ndarray, "..."], classes: int) -> Int[np.ndarray, "C C"]:
  """How many pixels of the class of the row were called the class of the column; pixels with truth below 0 do not count. Add up batches."""
  known = truth >= 0
  return np.bincount(classes * truth[known].astype(np.int64) + predicted[known], minlength=classes**2).reshape(classes, classes)


def segmentation(counts: Int[np.ndarray, "C C"]) -> dict[str, float | list[float | None]]:
  """Scores of a whole dataset from its `confusion`: `miou` over the classes that occur in truth, `iou` of each (None for the others)."""
  right, true, called = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
  iou = [float(r / (t + c - r)) if t > 0 else None for r, t, c in zip(right, true, called, strict=True)]
  return {"miou": float(np.mean([value for value in iou if value is not None])), "iou": iou,
          "pixel_accuracy": float(right.sum() / counts.sum())}


def over_seeds(runs: Sequence[dict[str, float]]) -> dict[str, dict]:
  """`{score: {mean, std, per_seed}}` of one dict of scores a seed; the sample deviation (n - 1), None for a single seed."""
  found = {}
  for name in runs[0]:
    values = [float(run[name]) for run in runs]
    found[name] = {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else None, "per_seed": values}
  return found
