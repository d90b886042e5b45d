"""Ridge regression (`metrics.ridge`) with a penalty that is chosen on train."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped
from sklearn.metrics import r2_score

from pdr_jax.metrics.ridge import fit, leave_one_out
from pdr_jax.metrics.samples import split_off, standardize

L2 = tuple(10 ** (0.5 * i - 3) for i in range(12))  # 1e-3 to 300: what probes choose from
HELD_OUT = 0.2
SELECTION = "R2 on the share of train that the seed holds out; refitted to all of train; test scored once"
SELECTION_FROM_FEW = "least squared error of each labelled example, fitted to the others; refitted to all"


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
  return _refitted(train, train_targets, test, l2, scores.argmax(axis=0))


def predict_from_few(
    train: Shaped[np.ndarray, "N D"],
    train_targets: Shaped[np.ndarray, "N T"],
    test: Shaped[np.ndarray, "M D"],
    *,
    l2: Sequence[float],
) -> Prediction:
  """The same where a share of the labelled examples would be two or three: each is left out once.

  Features are taken as they are. Ten examples say badly how much a number varies: one that is nearly constant
  in them would decide everything elsewhere. Standardise by all examples, labelled or not.
  """
  return _refitted(train, train_targets, test, l2, leave_one_out(train, train_targets, l2).argmin(axis=0))


def _refitted(
    train: Shaped[np.ndarray, "N D"],
    train_targets: Shaped[np.ndarray, "N T"],
    test: Shaped[np.ndarray, "M D"],
    l2: Sequence[float],
    best: Int[np.ndarray, " T"],
) -> Prediction:
  """Of all of train, with the penalty of this number in the list for each target."""
  final, target = fit(train, train_targets, l2), np.arange(train_targets.shape[1])
  predicted = test @ final.coefficients[best, target].T + final.intercepts[best, target]
  return Prediction(predicted, tuple(float(l2[index]) for index in best))
