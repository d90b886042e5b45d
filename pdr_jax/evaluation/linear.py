"""Linear classification on frozen features: converged logistic regression, the paper's Adam probe, and ridge.

The penalty is chosen on a part of train that the seed holds out, the chosen one is fitted to all of train, and test is scored once with it.
Seeds therefore differ in the part held out (Adam: in the start and the order of the examples).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from pdr_jax.errors import UserError
from pdr_jax.evaluation import logistic, metrics, ridge
from pdr_jax.evaluation.features import Features, class_count, classified, select, size, split_off, standardize, subsets

LOGISTIC_L2 = tuple(10 ** (0.5 * i - 5) for i in range(12))  # 1e-5 to 3; of the mean loss on standardised features
ROUGHLY = 1e-3  # the gradient's norm at which penalties are compared: decisions no longer change; what is kept is solved to TOLERANCE
HELD_OUT = 0.2
SOLVERS = ("logistic", "ridge", "adam")

Score = Callable[[Float[np.ndarray, "M T"]], dict[str, dict[str, float]]]  # of logits: {group: {metric: value}}


class Models(NamedTuple):
  """Linear maps to logits that decide at zero, or by the largest; one for each seed."""
  coefficients: Float[np.ndarray, "S T D"]
  intercepts: Float[np.ndarray, "S T"]
  report: dict[str, Any]


def multi_class(train: Features, test: Features, label: str, *, seeds: Sequence[int] = range(5), solvers: Sequence[str] = SOLVERS) -> dict:
  """Classes that exclude one another (emotion, identity, make of a car), by softmax; the penalty with the best held-out accuracy.

  Returns `{task, protocol, majority, results}`; `results[subset][solver]` has `scores` (`metrics.classification` over the seeds) and `fit`.
  """
  train, test = classified(train, test, [label])
  targets = np.eye(class_count(label, train, test), dtype=np.float32)[train.labels[label]]
  truth = test.labels[label]

  def score(logits):
    # Average precision ranks examples by one class: their probabilities can be compared, their logits only within an example.
    return {"scores": metrics.classification(truth, logits.argmax(axis=1), np.asarray(jax.nn.softmax(logits, axis=1)))}

  majority = float(np.mean(truth == targets.sum(axis=0).argmax()))
  return _evaluate(train, test, [label], targets, True, score, majority, seeds, solvers)


def multi_label(
    train: Features, test: Features, labels: Sequence[str], *, seeds: Sequence[int] = range(5), solvers: Sequence[str] = SOLVERS
) -> dict:
  """Attributes that are there or not (0 or 1), each by a sigmoid; each has the penalty with its own best held-out accuracy.

  Returns as `multi_class`; `scores` are means over the attributes, beside them each attribute's own in `labels`.
  """
  train, test = classified(train, test, labels)
  for name in labels:
    if class_count(name, train, test) > 2:
      raise UserError(f"label {name!r} has more than two classes: name it alone, as a multi-class label")
  targets = np.stack([train.labels[name] for name in labels], axis=1).astype(np.float32)
  truth = np.stack([test.labels[name] for name in labels], axis=1)

  def score(logits):
    each = {name: metrics.classification(truth[:, i], (logits[:, i] > 0).astype(np.int32), logits[:, i:i + 1])
            for i, name in enumerate(labels)}
    return {"scores": {key: float(np.mean([one[key] for one in each.values()])) for key in each[labels[0]]},
            **{f"labels/{name}": one for name, one in each.items()}}

  majority = float(np.mean(truth == (targets.mean(axis=0) > 0.5)[None]))
  return _evaluate(train, test, list(labels), targets, False, score, majority, seeds, solvers)


def _evaluate(
    train: Features, test: Features, labels: list[str], targets: Float[np.ndarray, "N T"], exclusive: bool, score: Score, majority: float,
    seeds: Sequence[int], solvers: Sequence[str],
) -> dict:
  chosen, results = subsets(train.blocks), {}
  for name, subset in chosen.items():
    raw = select(train, subset), select(test, subset)
    standard, results[name] = standardize(*raw), {}
    for solver in solvers:
      if solver == "adam" and len(subset) == 1 < len(train.blocks):
        continue  # published for blocks together
      inputs, held = raw if solver == "adam" else standard  # the published protocol takes features as they come
      models = _SOLVERS[solver](inputs, targets, exclusive, list(seeds))
      runs = [score(held @ w.T + b) for w, b in zip(models.coefficients, models.intercepts, strict=True)]
      scores = {group: metrics.over_seeds([run[group] for run in runs]) for group in runs[0]}
      results[name][solver] = {"scores": scores.pop("scores"), "fit": models.report}
      if scores:
        results[name][solver]["labels"] = {group.removeprefix("labels/"): entry for group, entry in scores.items()}
  return {
      "task": f"linear classification, {'multi-class' if exclusive else 'multi-label'}",
      "protocol": {
          "labels": labels, "classes": targets.shape[1] if exclusive else 2, "train": size(train), "test": size(test),
          "seeds": list(seeds), "subsets": {name: list(subset) for name, subset in chosen.items()},
          "held_out": HELD_OUT, "solvers": {solver: PROTOCOLS[solver] for solver in solvers},
      },
      "majority": majority,  # accuracy of the most frequent class of train
      "results": results,
  }


def logistic_models(inputs: Float[np.ndarray, "N D"], targets: Float[np.ndarray, "N T"], exclusive: bool, seeds: list[int]) -> Models:
  """Logistic regression on standardised features, `exclusive` through a softmax, with the penalty of the best held-out accuracy."""
  splits = [split_off(len(inputs), HELD_OUT, seed) for seed in seeds]
  weights = np.ones((len(seeds), len(inputs)), np.float32)
  for row, (_, held_out) in zip(weights, splits, strict=True):
    row[held_out] = 0

  def solve(weights, l2, tolerance):
    if exclusive:
      labels = jnp.asarray(targets.argmax(axis=1))
      fit = logistic.fit_multinomial(inputs, labels, weights, l2[:, 0], classes=targets.shape[1], tolerance=tolerance)
    else:
      fit = logistic.fit_binary(inputs, targets, weights, l2, tolerance=tolerance)
    return jax.tree.map(np.asarray, fit)

  l2 = np.broadcast_to(np.float32(LOGISTIC_L2)[:, None], (len(LOGISTIC_L2), targets.shape[1]))
  rough = solve(weights, l2, ROUGHLY)
  best = np.stack([_best(w, b, inputs[held], targets[held], exclusive)
                   for w, b, (_, held) in zip(rough.coefficients, rough.intercepts, splits, strict=True)])
  fit = solve(np.ones((1, len(inputs)), np.float32), np.take_along_axis(l2, best, axis=0), logistic.TOLERANCE)
  report = {**_penalties(LOGISTIC_L2, best, exclusive), "most_iterations": int(fit.iterations.max()),
            "largest_gradient_norm": float(fit.gradient_norm.max()),
            "not_converged": int(np.sum(fit.gradient_norm > logistic.TOLERANCE)),
            "problems": rough.gradient_norm.size + fit.gradient_norm.size}
  return Models(fit.coefficients[0], fit.intercepts[0], report)


def _ridge(inputs: Float[np.ndarray, "N D"], targets: Float[np.ndarray, "N T"], exclusive: bool, seeds: list[int]) -> Models:
  best = []
  for seed in seeds:
    fitted, held = split_off(len(inputs), HELD_OUT, seed)
    fit = ridge.fit(inputs[fitted], targets[fitted], ridge.L2)
    best.append(_best(fit.coefficients, fit.intercepts - 0.5, inputs[held], targets[held], exclusive))
  final = ridge.fit(inputs, targets, ridge.L2)
  return _pick(final.coefficients, final.intercepts - 0.5, np.stack(best), _penalties(ridge.L2, np.stack(best), exclusive))


def _adam(inputs: Float[np.ndarray, "N D"], targets: Float[np.ndarray, "N T"], exclusive: bool, seeds: list[int]) -> Models:
  probe = logistic.adam_probe(inputs, targets, jnp.asarray(seeds), exclusive=exclusive)
  return Models(np.asarray(probe.coefficients), np.asarray(probe.intercepts), {})


_SOLVERS = {"logistic": logistic_models, "ridge": _ridge, "adam": _adam}
_SELECTION = "accuracy on the share of train that the seed holds out, of equals the middle one; refitted to all of train; test scored once"
PROTOCOLS = {
    "logistic": {"solver": f"L-BFGS on mean loss + l2/2 |w|^2 until the gradient's norm is {logistic.TOLERANCE:g} ({ROUGHLY:g} to compare "
                           "penalties)", "l2": LOGISTIC_L2,
                 "selection": _SELECTION, "features": "standardised with the mean and deviation of train"},
    "ridge": {"solver": "closed form, mean square + l2 |w|^2, targets 0 and 1", "l2": ridge.L2,
              "selection": _SELECTION, "features": "standardised with the mean and deviation of train"},
    "adam": {"solver": "Adam, learning rate 2e-4, 50 epochs, batches of 64", "selection": "none", "features": "as they come"},
}


def _best(
    coefficients: Float[np.ndarray, "L T D"], intercepts: Float[np.ndarray, "L T"], inputs: Float[np.ndarray, "H D"],
    targets: Float[np.ndarray, "H T"], exclusive: bool,
) -> Int[np.ndarray, " T"]:
  """Which penalty classifies most of these examples, for each target (exclusive: the same for all); the middle one of equals."""
  logits = np.stack([inputs @ w.T + b for w, b in zip(coefficients, intercepts, strict=True)])
  right = _right(logits, targets, exclusive).mean(axis=1)
  equals = [np.flatnonzero(column == column.max()) for column in right.T]
  return np.broadcast_to([indices[len(indices) // 2] for indices in equals], targets.shape[1:])


def _right(logits: Float[np.ndarray, "L H T"], targets: Float[np.ndarray, "H T"], exclusive: bool) -> Bool[np.ndarray, "L H _"]:
  if exclusive:
    return (logits.argmax(axis=-1) == targets.argmax(axis=-1))[..., None]
  return (logits > 0) == (targets > 0.5)


def _pick(
    coefficients: Float[np.ndarray, "L T D"], intercepts: Float[np.ndarray, "L T"], best: Int[np.ndarray, "S T"], report: dict
) -> Models:
  target = np.arange(best.shape[1])[None]
  return Models(coefficients[best, target], intercepts[best, target], report)


def _penalties(l2: Sequence[float], best: Int[np.ndarray, "S T"], exclusive: bool) -> dict[str, list]:
  """The chosen penalty of each seed, and for attributes of each of them."""
  chosen = np.asarray(l2)[best]
  return {"l2": (chosen[:, 0] if exclusive else chosen).tolist()}
