"""Linear maps from features to logits: converged logistic regression, ridge, and the published Adam probe.

The penalty is chosen on a part of train that the seed holds out, the chosen one is fitted to all of train,
and test is scored once with it. Seeds therefore differ in the part held out (Adam: in the start and the order
of the examples).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from pdr_jax.evaluation.probes import logistic, ridge
from pdr_jax.metrics.ridge import fit as fit_ridge
from pdr_jax.metrics.samples import split_off

# 1e-5 to 3; of the mean loss on standardised features.
LOGISTIC_L2 = tuple(10 ** (0.5 * i - 5) for i in range(12))
# The gradient's norm at which penalties are compared: decisions no longer change. What is kept is solved to
# `logistic.TOLERANCE`.
ROUGHLY = 1e-3
HELD_OUT = 0.2


class Models(NamedTuple):
  """Linear maps to logits that decide at zero, or by the largest; one for each seed.

  `report` tells how they were fitted: chosen penalties, iterations, gradients.
  """

  coefficients: Float[np.ndarray, "S T D"]
  intercepts: Float[np.ndarray, "S T"]
  report: dict[str, Any]


def logistic_models(
    inputs: Float[np.ndarray, "N D"], targets: Float[np.ndarray, "N T"], exclusive: bool, seeds: Sequence[int]
) -> Models:
  """Logistic regression on standardised features, with the penalty of the best held-out accuracy.

  `exclusive` targets (one-hot) go through a softmax, others each through a sigmoid with a penalty of its own.
  """
  splits = [split_off(len(inputs), HELD_OUT, seed) for seed in seeds]
  weights = np.ones((len(seeds), len(inputs)), np.float32)
  for row, (_, held_out) in zip(weights, splits, strict=True):
    row[held_out] = 0

  def solve(
      weights: Float[np.ndarray, "S N"], l2: Float[np.ndarray, "L T"], tolerance: float
  ) -> logistic.Fit:
    if exclusive:
      labels = jnp.asarray(targets.argmax(axis=1))
      classes = targets.shape[1]
      fit = logistic.fit_multinomial(inputs, labels, weights, l2[:, 0], classes=classes, tolerance=tolerance)
    else:
      fit = logistic.fit_binary(inputs, targets, weights, l2, tolerance=tolerance)
    return jax.tree.map(np.asarray, fit)

  l2 = np.broadcast_to(np.float32(LOGISTIC_L2)[:, None], (len(LOGISTIC_L2), targets.shape[1]))
  rough = solve(weights, l2, ROUGHLY)
  best = np.stack([
      _best(w, b, inputs[held_out], targets[held_out], exclusive)
      for w, b, (_, held_out) in zip(rough.coefficients, rough.intercepts, splits, strict=True)
  ])
  chosen = np.take_along_axis(l2, best, axis=0)
  fit = solve(np.ones((1, len(inputs)), np.float32), chosen, logistic.TOLERANCE)
  report = {
      **_penalties(LOGISTIC_L2, best, exclusive),
      "most_iterations": int(fit.iterations.max()),
      "largest_gradient_norm": float(fit.gradient_norm.max()),
      "not_converged": int(np.sum(fit.gradient_norm > logistic.TOLERANCE)),
      "problems": rough.gradient_norm.size + fit.gradient_norm.size,
  }
  return Models(fit.coefficients[0], fit.intercepts[0], report)


def ridge_models(
    inputs: Float[np.ndarray, "N D"], targets: Float[np.ndarray, "N T"], exclusive: bool, seeds: Sequence[int]
) -> Models:
  """Ridge regression to 0 and 1 on standardised features, with the penalty of the best held-out accuracy."""
  best = []
  for seed in seeds:
    fitted, held_out = split_off(len(inputs), HELD_OUT, seed)
    fit = fit_ridge(inputs[fitted], targets[fitted], ridge.L2)
    intercepts = fit.intercepts - 0.5
    best.append(_best(fit.coefficients, intercepts, inputs[held_out], targets[held_out], exclusive))
  best = np.stack(best)
  final = fit_ridge(inputs, targets, ridge.L2)
  target = np.arange(best.shape[1])[None]
  report = _penalties(ridge.L2, best, exclusive)
  return Models(final.coefficients[best, target], final.intercepts[best, target] - 0.5, report)


def adam_models(
    inputs: Float[np.ndarray, "N D"], targets: Float[np.ndarray, "N T"], exclusive: bool, seeds: Sequence[int]
) -> Models:
  """The published probe, on features as they come."""
  probe = logistic.adam_probe(inputs, targets, jnp.asarray(list(seeds)), exclusive=exclusive)
  return Models(np.asarray(probe.coefficients), np.asarray(probe.intercepts), {})


class Solver(NamedTuple):
  """A way to a linear map.

  Attributes:
    fit: `(inputs, targets, exclusive, seeds) -> Models`.
    standard: whether it takes standardised features; otherwise as they come.
    single_blocks: whether it reads blocks alone, too, and not only several together.
    protocol: what to say of it.
  """

  fit: Callable[..., Models]
  standard: bool
  single_blocks: bool
  protocol: Mapping[str, Any]


_SELECTION = (
    "accuracy on the share of train that the seed holds out, of equals the middle one; refitted to all of "
    "train; test scored once"
)
_STANDARD = "standardised with the mean and deviation of train"
SOLVERS: Mapping[str, Solver] = {
    "logistic": Solver(logistic_models, standard=True, single_blocks=True, protocol={
        "solver": f"L-BFGS on mean loss + l2/2 |w|^2 until the gradient's norm is {logistic.TOLERANCE:g} "
                  f"({ROUGHLY:g} to compare penalties)",
        "l2": list(LOGISTIC_L2), "selection": _SELECTION, "features": _STANDARD,
    }),
    "ridge": Solver(ridge_models, standard=True, single_blocks=True, protocol={
        "solver": "closed form, mean square + l2 |w|^2, targets 0 and 1",
        "l2": list(ridge.L2), "selection": _SELECTION, "features": _STANDARD,
    }),
    # It was published for blocks together, on features as they come.
    "adam": Solver(adam_models, standard=False, single_blocks=False, protocol={
        "solver": "Adam, learning rate 2e-4, 50 epochs, batches of 64", "selection": "none",
        "features": "as they come",
    }),
}


def _best(
    coefficients: Float[np.ndarray, "L T D"],
    intercepts: Float[np.ndarray, "L T"],
    inputs: Float[np.ndarray, "H D"],
    targets: Float[np.ndarray, "H T"],
    exclusive: bool,
) -> Int[np.ndarray, " T"]:
  """Which penalty classifies most of these examples, for each target (exclusive: the same for all).

  Of several that classify as many it is the middle one.
  """
  logits = np.stack([inputs @ w.T + b for w, b in zip(coefficients, intercepts, strict=True)])
  accuracy = _right(logits, targets, exclusive).mean(axis=1)
  equals = [np.flatnonzero(column == column.max()) for column in accuracy.T]
  return np.broadcast_to([indices[len(indices) // 2] for indices in equals], targets.shape[1:])


def _right(
    logits: Float[np.ndarray, "L H T"], targets: Float[np.ndarray, "H T"], exclusive: bool
) -> Bool[np.ndarray, "L H _"]:
  if exclusive:
    return (logits.argmax(axis=-1) == targets.argmax(axis=-1))[..., None]
  return (logits > 0) == (targets > 0.5)


def _penalties(l2: Sequence[float], best: Int[np.ndarray, "S T"], exclusive: bool) -> dict[str, list]:
  """The chosen penalty of each seed, and for attributes of each of them."""
  chosen = np.asarray(l2)[best]
  return {"l2": (chosen[:, 0] if exclusive else chosen).tolist()}


def softmax(logits: Shaped[np.ndarray, "M K"] | Array) -> Float[np.ndarray, "M K"]:
  """Probabilities, which can be compared between examples; logits only within one."""
  return np.asarray(jax.nn.softmax(logits, axis=1))
