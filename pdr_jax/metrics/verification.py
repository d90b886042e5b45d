"""Scores of verification: are two pictures of the same person?"""

import numpy as np
from jaxtyping import Bool, Num
from sklearn import metrics

FALSE_ACCEPT_RATES = {"tar_at_far_1e-2": 1e-2, "tar_at_far_1e-3": 1e-3}


def verification(same: Bool[np.ndarray, " P"], similarity: Num[np.ndarray, " P"]) -> dict[str, float]:
  """Area under the ROC curve, and the true accept rate at false accept rates of 1e-2 and 1e-3.

  The threshold is the most generous one whose false accept rate on these pairs does not exceed the given one.
  """
  false_accept, true_accept, _ = metrics.roc_curve(same, similarity, drop_intermediate=False)
  rates = {
      name: float(true_accept[false_accept <= rate].max()) for name, rate in FALSE_ACCEPT_RATES.items()
  }
  return {"roc_auc": float(metrics.auc(false_accept, true_accept)), **rates}
