"""Scores of an assignment of examples to clusters, as plain floats in [0, 1] (adjusted Rand: from -0.5)."""

import numpy as np
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment
from sklearn import metrics


def clustering(truth: Int[np.ndarray, " N"], clusters: Int[np.ndarray, " N"]) -> dict[str, float]:
  """Compares clusters, whose numbers mean nothing, with classes.

  `accuracy`, `macro_f1` and `weighted_f1` follow the one-to-one assignment of clusters to classes that gets
  most examples right (Hungarian algorithm); clusters left over are wrong. `purity` gives each cluster its
  most frequent class. `nmi` is the mutual information over the arithmetic mean of the entropies.
  `adjusted_rand` is 0 for chance.
  """
  # Rows are the classes that occur, sorted, and columns the clusters.
  counts = metrics.cluster.contingency_matrix(truth, clusters)
  classes, names = np.unique(truth), np.unique(clusters)
  rows, columns = linear_sum_assignment(counts, maximize=True)
  assigned = np.full(len(names), classes.max() + 1)  # no class of its own
  assigned[columns] = classes[rows]
  predicted = assigned[np.searchsorted(names, clusters)]

  def f1(average: str) -> float:
    score = metrics.f1_score(truth, predicted, labels=classes, average=average, zero_division=0)
    return float(score)

  return {
      "accuracy": float(np.mean(predicted == truth)),
      "purity": float(counts.max(axis=0).sum() / counts.sum()),
      "nmi": float(metrics.normalized_mutual_info_score(truth, clusters)),
      "macro_f1": f1("macro"),
      "weighted_f1": f1("weighted"),
      "adjusted_rand": float(metrics.adjusted_rand_score(truth, clusters)),
  }
