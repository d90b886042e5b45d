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
  decomposed = _decompose(features, targets)
  coefficients = np.stack([_solution(decomposed, strength) for strength in l2])
  return Fit(coefficients, decomposed.mean - coefficients @ decomposed.centre)


def leave_one_out(
    features: Shaped[np.ndarray, "N D"], targets: Shaped[np.ndarray, "N T"], l2: Sequence[float]
) -> Float[np.ndarray, "L T"]:
  """Mean squared error at each example of the solution that is fitted to the others, with the same `alpha`.

  Nothing is fitted again: each residual is divided by one less the example's leverage (Allen 1974, "The
  relationship between variable selection and data augmentation and a method for prediction").
  """
  decomposed, count = _decompose(features, targets), len(features)
  places = decomposed.centred @ decomposed.vectors
  errors = []
  for strength in l2:
    residual = decomposed.targets - decomposed.centred @ _solution(decomposed, strength).T
    leverage = 1 / count + np.square(places) @ (1 / (decomposed.spectrum + strength)) / count
    errors.append(np.square(residual / (1 - leverage)[:, None]).mean(axis=0))
  return np.stack(errors)


class _Decomposed(NamedTuple):
  """Examples around their mean, targets around theirs, and the principal axes of the former."""

  centred: Float[np.ndarray, "N D"]
  centre: Float[np.ndarray, " D"]
  targets: Float[np.ndarray, "N T"]
  mean: Float[np.ndarray, " T"]
  spectrum: Float[np.ndarray, " K"]  # variances along the axes
  vectors: Float[np.ndarray, "D K"]
  along: Float[np.ndarray, "K T"]  # covariances of the targets with what lies along the axes


def _decompose(features: Shaped[np.ndarray, "N D"], targets: Shaped[np.ndarray, "N T"]) -> _Decomposed:
  features, targets = np.asarray(features, np.float64), np.asarray(targets, np.float64)
  centre, mean = features.mean(axis=0), targets.mean(axis=0)
  centred = features - centre
  if centred.shape[1] > len(centred):  # outside of the examples' span coefficients are zero
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    spectrum, vectors = singular**2 / len(features), axes.T
  else:
    spectrum, vectors = np.linalg.eigh(centred.T @ centred / len(features))
  spectrum = np.maximum(spectrum, 0.0)  # rounding leaves eigenvalues a little below zero
  along = vectors.T @ (centred.T @ (targets - mean)) / len(features)
  return _Decomposed(centred, centre, targets - mean, mean, spectrum, vectors, along)


def _solution(decomposed: _Decomposed, strength: float) -> Float[np.ndarray, "T D"]:
  """The coefficients for one penalty."""
  return (decomposed.vectors @ (decomposed.along / (decomposed.spectrum + strength)[:, None])).T
