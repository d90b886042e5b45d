"""Ridge regression in closed form: one decomposition gives the solutions for a whole grid of penalties.

Each problem minimises, over coefficients `w` and an intercept that is not penalised, `mean (y - x w - b)^2 +
l2 |w|^2` over the examples, which is scikit-learn's `Ridge` with `alpha = l2 * number of examples`. In
NumPy's float64: there is no iteration to speed up, and small penalties need the digits.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped


class Fit(NamedTuple):
  """Solutions for L penalties and T targets."""

  coefficients: Float[np.ndarray, "L T D"]
  intercepts: Float[np.ndarray, "L T"]


def fit(
    features: Shaped[np.ndarray, "N D"], targets: Shaped[np.ndarray, "N T"], l2: Sequence[float]
) -> Fit:
  """One solution for each penalty and target. Classification takes 0 and 1 (one-hot) as targets."""
  features, targets = np.asarray(features, np.float64), np.asarray(targets, np.float64)
  centre, mean = features.mean(axis=0), targets.mean(axis=0)
  centred = features - centre
  if centred.shape[1] > len(centred):  # outside of the examples' span coefficients are zero
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    spectrum, vectors = singular**2 / len(features), axes.T
  else:
    spectrum, vectors = np.linalg.eigh(centred.T @ centred / len(features))
  along = vectors.T @ (centred.T @ (targets - mean)) / len(features)
  spectrum = np.maximum(spectrum, 0.0)  # rounding leaves eigenvalues a little below zero
  coefficients = np.stack([(vectors @ (along / (spectrum + strength)[:, None])).T for strength in l2])
  return Fit(coefficients, mean - coefficients @ centre)
