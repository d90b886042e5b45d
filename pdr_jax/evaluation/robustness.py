"""Robustness: probes that learn inside a range of light or viewpoint, tested by how many degrees an image lies outside of it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from pdr_jax.errors import UserError
from pdr_jax.evaluation import linear, metrics
from pdr_jax.evaluation.features import Features, class_count, classified, select, size, split_off, standardize, subsets, take

FEWEST = 10  # images of a bin; a mean over fewer says little
ATTRIBUTES = "attributes"


def robustness(
    train: Features, inside: Features, outside: Features, degrees: Float[np.ndarray, " N"], *, attributes: Sequence[str] = (),
    classes: Sequence[str] = (), width: float = 10.0, seeds: Sequence[int] = range(5),
) -> dict:
  """Logistic regression on train, scored inside the range, and outside of it in bins of `width` degrees.

  Args:
    train, inside: images within the range; `inside` is tested on as the point at 0 degrees.
    outside, degrees: images beyond it, and by how many degrees; those of 0 or less, or of unknown distance (NaN), do not count.
    attributes: labels of 0 or 1, whose scores are averaged; `classes`: labels of several classes, each for itself.

  Returns `{task, protocol, degrees, results}`; `results[subset][label][bin]` has accuracy and balanced accuracy over the seeds,
  `degrees[bin]` the mean distance of the bin's images. Bins of fewer than 10 images are left out. Raises `UserError` where no bin is left.
  """
  bins = _bins(degrees, width)
  if not bins:
    raise UserError(f"no {FEWEST} images lie outside of the training range within {width:g} degrees of each other")
  parts = {"0": inside, **{name: take(outside, rows) for name, rows in bins.items()}}
  chosen, results = subsets(train.blocks), {}
  tasks = ({ATTRIBUTES: list(attributes)} if attributes else {}) | {name: [name] for name in classes}
  for name, subset in chosen.items():
    results[name] = {}
    for task, labels in tasks.items():
      results[name][task] = _curve(train, parts, subset, labels, task != ATTRIBUTES, seeds)
  return {
      "task": "robustness: logistic regression learned inside the range, tested by degrees outside",
      "protocol": {"labels": [*attributes, *classes], "train": size(train), "examples": {name: size(part) for name, part in parts.items()},
                   "bin_degrees": width, "seeds": list(seeds), "subsets": {name: list(subset) for name, subset in chosen.items()},
                   "solvers": linear.PROTOCOLS["logistic"]},
      "degrees": {"0": 0.0, **{name: float(degrees[rows].mean()) for name, rows in bins.items()}},
      "results": results,
  }


def with_light(features: Features, angles: Sequence[str]) -> Features:
  """The labels `angles`, azimuth and elevation of the light (degrees, 0: from the camera), as the factor light and as `light_angle`.

  The light travels along `light/0` to `light/2`, of length 1 (CONVENTIONS.md); `light_angle`, degrees, is between it and the camera's axis.
  """
  missing = [name for name in angles if name not in features.labels]
  if missing or len(angles) != 2:
    raise UserError(f"config.light_angles = {tuple(angles)}: must name two labels, azimuth and elevation; the data has "
                    f"{', '.join(sorted(features.labels)) or 'none'}")
  azimuth, elevation = (np.deg2rad(features.labels[name].astype(np.float64)) for name in angles)
  # Extended Yale B: a positive azimuth lights the left of the picture, a positive elevation its top.
  direction = np.stack([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
  light = {f"light/{i}": part.astype(np.float32) for i, part in enumerate(direction)}
  others = {name: values for name, values in features.labels.items() if name not in angles}
  return features._replace(labels={**others, **light, "light_angle": np.rad2deg(np.arccos(direction[2])).astype(np.float32)})


def by_light_angle(train: Features, test: Features, limit: float) -> tuple[Features, Features, Features, Float[np.ndarray, " N"]]:
  """(train, inside, outside, degrees) for `robustness` from the images of both splits: those within `limit` degrees, of which a part that
  the probes do not see is `inside`, and all others."""
  both = Features({name: np.concatenate([part.blocks[name] for part in (train, test)]) for name in train.blocks},
                  {name: np.concatenate([part.labels[name] for part in (train, test)]) for name in train.labels}, train.classes)
  beyond = both.labels["light_angle"] - limit
  within, outside = take(both, beyond <= 0), take(both, beyond > 0)
  if size(within) < 2 * FEWEST:
    raise UserError(f"config.robustness.inside = {limit:g}: only {size(within)} images have their light within so many degrees")
  learned, held_out = split_off(size(within), linear.HELD_OUT, 0)
  return take(within, learned), take(within, held_out), outside, beyond[beyond > 0]


def _bins(degrees: Float[np.ndarray, " N"], width: float) -> dict[str, np.ndarray]:
  """Rows by the name of their bin, such as "10-20", in ascending order."""
  number = np.where(degrees > 0, np.ceil(degrees / width), 0)  # NaN: 0
  rows = {f"{(k - 1) * width:g}-{k * width:g}": np.flatnonzero(number == k) for k in range(1, int(number.max(initial=0)) + 1)}
  return {name: found for name, found in rows.items() if len(found) >= FEWEST}


def _curve(
    train: Features, parts: dict[str, Features], subset: Sequence[str], labels: list[str], exclusive: bool, seeds: Sequence[int]
) -> dict[str, dict]:
  """Scores by bin; a label that a bin does not have at all is an error, examples without it do not count."""
  scores: dict[str, list[dict[str, float]]] = {}
  models = None
  for name, part in parts.items():
    known, part = classified(train, part, labels)
    inputs, held = standardize(select(known, subset), select(part, subset))
    if models is None:
      truth = np.stack([known.labels[label] for label in labels], axis=1)
      count = class_count(labels[0], known, *parts.values()) if exclusive else 0
      targets = np.eye(count, dtype=np.float32)[truth[:, 0]] if exclusive else truth.astype(np.float32)
      models = linear.logistic_models(inputs, targets, exclusive, list(seeds))
    scores[name] = [_score(held @ w.T + b, part, labels, exclusive) for w, b in zip(models.coefficients, models.intercepts, strict=True)]
  return {name: metrics.over_seeds(found) for name, found in scores.items()}


def _score(logits: Float[np.ndarray, "M T"], part: Features, labels: list[str], exclusive: bool) -> dict[str, float]:
  decided = [logits.argmax(axis=1)] if exclusive else (logits > 0).astype(np.int64).T
  each = [metrics.decisions(part.labels[label], found) for label, found in zip(labels, decided, strict=True)]
  return {key: float(np.mean([one[key] for one in each])) for key in ("accuracy", "balanced_accuracy")}
