"""Ridge regression (`metrics.ridge`) with a penalty that is chosen on a held-out share of train."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from sklearn.metrics import r2_score

from pdr_jax.metrics.ridge import fit
from pdr_jax.metrics.samples import split_off, standardize

L2 = tuple(10 ** (0.5 * i - 3) for i in range(12))  # 1e-3 to 300: what probes choose from
HELD_OUT = 0.2
SELECTION = "R2 on the share of train that the seed holds out; refitted to all of train; test scored once"


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
