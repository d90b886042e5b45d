"""Scores of predicted numbers."""

import numpy as np
from jaxtyping import Float
from scipy import stats
from sklearn.metrics import r2_score


def regression(truth: Float[np.ndarray, " N"], predicted: Float[np.ndarray, " N"]) -> dict[str, float]:
  """Mean absolute error, R2 and Spearman's rank correlation.

  R2 is 1 for a perfect prediction and 0 for the mean of these truths. The rank correlation is -1 to 1, ties
  have their mean rank, and it is 0 where either side is constant.
  """
  constant = len(np.unique(truth)) < 2 or len(np.unique(predicted)) < 2
  return {
      "mean_absolute_error": float(np.mean(np.abs(truth - predicted))),
      "r2": float(r2_score(truth, predicted)),
      "spearman": 0.0 if constant else float(stats.spearmanr(truth, predicted).statistic),
  }
