"""Ridge regression in closed form: one decomposition gives the solutions for a whole grid of penalties.

Each problem minimises, over coefficients `w` and an intercept that is not penalised, `mean (y - x w - b)^2 +
l2 |w|^2` over the examples, which is scikit-learn's `Ridge` with `alpha = l2 * number of examples`. In
NumPy's float64: there is no iteration to speed up, and small penalties need the digits.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from sklearn.metrics import r2_score

from pdr_jax.metrics.samples import split_off, standardize

L2 = tuple(10 ** (0.5 * i - 3) for i in range(12))  # 1e-3 to 300: what probes choose from
HELD_OUT = 0.2
SELECTION = "R2 on the share of train that the seed holds out; refitted to all of train; test scored once"


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


class Prediction(NamedTuple):
  """What ridge regressions say of the test examples, and the penalty that each target was given."""

  predicted: Float[np.ndarray, "M T"]
  l2: tuple[float, ...]


def predict(
    train: Shaped[np.ndarray, "N D"],
    train_targets: Shaped[np.ndarray, "N T"],
    test: Shaped[np.ndarray, "M D"],
    *,
    l2: Sequence[float],
    seed: int = 0,
    held_out: float = HELD_OUT,
) -> Prediction:
  """Predictions for test of ridge regressions on standardised features.

  The penalty of each target is the one with the best R2 on a share `held_out` of train that the seed chooses;
  the solution with it is then fitted to all of train.
  """
  train, test = standardize(train, test)
  fitted, chosen = split_off(len(train), held_out, seed)
  first = fit(train[fitted], train_targets[fitted], l2)
  scores = np.stack([
      r2_score(train_targets[chosen], train[chosen] @ w.T + b, multioutput="raw_values")
      for w, b in zip(first.coefficients, first.intercepts, strict=True)
  ])
  best, target = scores.argmax(axis=0), np.arange(train_targets.shape[1])
  final = fit(train, train_targets, l2)
  predicted = test @ final.coefficients[best, target].T + final.intercepts[best, target]
  return Prediction(predicted, tuple(float(l2[index]) for index in best))


def held_out_r2(
    train: Shaped[np.ndarray, "N D"],
    train_targets: Shaped[np.ndarray, "N T"],
    test: Shaped[np.ndarray, "M D"],
    test_targets: Shaped[np.ndarray, "M T"],
    *,
    l2: Sequence[float],
    seed: int = 0,
) -> Float[np.ndarray, " T"]:
  """R2 on test of `predict`, at most 1; 0 is what the mean of test would get."""
  predicted = predict(train, train_targets, test, l2=l2, seed=seed).predicted
  return r2_score(test_targets, predicted, multioutput="raw_values")
