"""How one-to-one the numbers of a representation are with the factors: DCI, MIG and SAP.

These look at single numbers of the features, where the task `factors` looks at whole blocks: a rotated block
keeps its readout and loses its DCI.
"""

import warnings

import numpy as np
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import lasso_path
from sklearn.metrics import mutual_info_score, r2_score

from pdr_jax.metrics.samples import split_off, standardize

BINS = 20  # of each number and factor, for mutual information (Locatello et al. 2019)
HELD_OUT = 0.2
PENALTIES = 20  # of the lasso's path


def dci(
    train: Float[np.ndarray, "N D"],
    train_factors: Float[np.ndarray, "N K"],
    test: Float[np.ndarray, "M D"],
    test_factors: Float[np.ndarray, "M K"],
    *,
    seed: int = 0,
) -> dict[str, float]:
  """Disentanglement, completeness and informativeness (Eastwood and Williams 2018).

  They are found with the lasso of their paper. The importance of number d for factor k is the lasso's
  |coefficient| on standardised numbers; its penalty is the one with the best R2 on a part of train.
  Disentanglement is 1 minus the entropy (base K) of a number's importances over factors, weighted by its
  share of all importance; completeness 1 minus the entropy (base D) of a factor's over numbers; both are 0
  where nothing is important. Informativeness is the mean R2 on test, at least 0.
  """
  inputs, test_inputs = standardize(train, test)
  fitted, chosen = split_off(len(inputs), HELD_OUT, seed)
  importance, scores = [], []
  for target, truth in zip(train_factors.T, test_factors.T, strict=True):
    coefficients, centre = _lasso(inputs, target, fitted, chosen)
    importance.append(np.abs(coefficients))
    scores.append(max(r2_score(truth, test_inputs @ coefficients + centre), 0.0))
  importance = np.stack(importance, axis=1)  # [D, K]
  share = importance.sum(axis=1) / max(importance.sum(), 1e-12)
  complete = np.where(importance.sum(axis=0) > 0, 1 - _entropy(importance, axis=0), 0.0)
  return {
      "disentanglement": float((share * (1 - _entropy(importance, axis=1))).sum()),
      "completeness": float(np.mean(complete)),
      "informativeness": float(np.mean(scores)),
  }


def _lasso(
    inputs: Float[np.ndarray, "N D"],
    target: Float[np.ndarray, " N"],
    fitted: Int[np.ndarray, " F"],
    chosen: Int[np.ndarray, " H"],
) -> tuple[Float[np.ndarray, " D"], np.float64]:
  """The lasso's coefficients and intercept on the rows `fitted`.

  The penalty is that of the best R2 on `chosen`.
  """
  centre = target[fitted].mean()
  largest = np.abs(inputs[fitted].T @ (target[fitted] - centre)).max() / len(fitted)  # beyond it all are zero
  penalties = max(largest, 1e-12) * np.geomspace(1, 1e-3, PENALTIES)
  with warnings.catch_warnings():
    # At the weakest penalties, which the held-out part judges as it does the others.
    warnings.simplefilter("ignore", ConvergenceWarning)
    _, path, _ = lasso_path(inputs[fitted], target[fitted] - centre, alphas=penalties)
  scores = [r2_score(target[chosen], inputs[chosen] @ w + centre) for w in path.T]
  return path[:, int(np.argmax(scores))], centre


def mig(numbers: Float[np.ndarray, "N D"], factors: Float[np.ndarray, "N K"]) -> float:
  """Mutual information gap (Chen et al. 2018).

  It is the gap between each factor's two most informative numbers, over the factor's entropy. The mean over
  factors. Numbers and factors are cut into 20 bins of equal width.
  """
  numbers, factors = (np.stack([_bins(column) for column in part.T], axis=1) for part in (numbers, factors))
  gaps = []
  for factor in factors.T:
    known = np.sort([mutual_info_score(number, factor) for number in numbers.T])[::-1]
    entropy = mutual_info_score(factor, factor)
    second = known[1] if len(known) > 1 else 0.0
    gaps.append((known[0] - second) / entropy if entropy > 0 else 0.0)
  return float(np.mean(gaps))


def sap(numbers: Float[np.ndarray, "N D"], factors: Float[np.ndarray, "N K"]) -> float:
  """Separated attribute predictability (Kumar et al. 2018), the mean over factors.

  Of each factor the gap of the squared correlation between the two numbers that tell it best.
  """
  numbers, = standardize(np.asarray(numbers, np.float64))
  factors, = standardize(np.asarray(factors, np.float64))
  explained = np.sort((numbers.T.astype(np.float64) @ factors / len(numbers)) ** 2, axis=0)[::-1]
  return float(np.mean(explained[0] - (explained[1] if len(explained) > 1 else 0.0)))


def _bins(values: Float[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
  edges = np.linspace(values.min(), values.max(), BINS + 1)
  return np.digitize(values, edges[1:-1])


def _entropy(weights: Float[np.ndarray, "D K"], axis: int) -> Float[np.ndarray, " _"]:
  """Of the distributions along an axis, in units of the largest possible; 1 where all weights are zero."""
  count = weights.shape[axis]
  total = weights.sum(axis=axis, keepdims=True)
  share = np.where(total > 0, weights / np.where(total > 0, total, 1.0), 1 / count)
  terms = np.where(share > 0, share * np.log(np.where(share > 0, share, 1.0)), 0.0)
  return -terms.sum(axis=axis) / np.log(count) if count > 1 else np.zeros(total.size)
