"""Validation passes: the method's scores over the whole split, beside those of what needs no model."""

import math
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from pdr_jax.data import pipeline
from pdr_jax.errors import UserError
from pdr_jax.methods import Method
from pdr_jax.training import distributed
from pdr_jax.training import step as steps
from pdr_jax.training.metric_log import Meter

PICTURES = 8  # fixed validation pictures in the figures
EARLY = 0.25  # of the training: before it views and light are still to be found
COLLAPSED = 2.0  # degrees
ALIKE = 0.2  # of the data's diversity: a generator below makes hardly more than one picture
APART = 0.5  # of the distance between pictures and generated ones: a critic's gap above is a generator's loss


class Validator:
  """The validation split of a run, gone through in the same order each time.

  Args:
    method: its `validate` gives the scores, its `baselines` those of what needs no model.
    batches: can be iterated over again and again; `_mask` marks what is not padding.
  """

  def __init__(self, method: Method, batches: Iterable[dict]):
    self._validate, self._batches = steps.validate_fn(method), batches
    self._compute_baselines = method.baselines
    self._baselines: dict[str, dict[str, float]] | None = None
    self._warned: set[str] = set()
    self.examples = 0  # of the split, known after the first pass

  def check_best_metric(self, state: Any, name: str) -> None:
    """Raises `UserError` when validation does not give the metric that is to choose the best checkpoint.

    Nothing is computed.
    """
    batch = steps.place(next(iter(self._batches)))
    names = tuple(with_deviations(dict.fromkeys(jax.eval_shape(self._validate, state, batch).names, 0.0)))
    if name not in names:
      raise UserError(f"config.train.best_metric = {name!r}: must be one of {', '.join(names)}")

  def scores(self, state: Any, step: int) -> dict[str, float]:
    """Means over all validation examples. Raises `NonFinite`."""
    meter, sizes = Meter(), []

    def place(batch: dict) -> dict:
      sizes.append(np.sum(batch["_mask"]))
      return steps.place(batch)

    for batch in pipeline.finite_prefetch(self._batches, place):
      meter.add(step, self._validate(state, batch).fetch())
    if not self.examples:
      self.examples = int(distributed.sums({"examples": np.sum(sizes)})["examples"])
    return with_deviations(meter.means())

  def warnings(self, scores: dict[str, float], step: int, steps_in_all: int) -> list[str]:
    """What these scores say that the user should look at, each line once in the life of this object."""
    fresh = {kind: line for kind, line in complaints(scores, step, steps_in_all) if kind not in self._warned}
    self._warned |= fresh.keys()
    return list(fresh.values())

  def first(self, key: str) -> np.ndarray:
    """The first examples of the split by a key of its batches, `[8, ...]` (fewer in a smaller split)."""
    batch = next(iter(self._batches))
    return np.asarray(batch[key])[np.asarray(batch["_mask"]) > 0][:PICTURES]

  def baselines(self) -> dict[str, dict[str, float]]:
    """`{title: {metric: value}}` of what needs no model, by the names of the model's metrics.

    It is computed once.
    """
    if self._baselines is None:
      compute = self._compute_baselines
      self._baselines = compute(self._batches, distributed.sums) if compute else {}
    return self._baselines

  def line(self, step: int, scores: dict[str, float]) -> str:
    """One line for the user: every score, and the baselines' where they have the same name."""
    parts = []
    for name, value in scores.items():
      others = [f"{title} {entry[name]:.4g}" for title, entry in self.baselines().items() if name in entry]
      beside = f" ({', '.join(others)})" if others else ""
      parts.append(f"{name.removeprefix('val/')} {value:.4g}{beside}")
    return f"step {step} validation: " + "; ".join(parts)


def with_deviations(means: dict[str, float]) -> dict[str, float]:
  """The means, where each pair `NAME_mean` and `NAME_squared` (of the same numbers) has become `NAME_spread`.

  That is the standard deviation over the whole split, which is no mean itself.
  """
  names = {name.removesuffix("_squared") for name in means if name.endswith("_squared")}
  names = {name for name in names if f"{name}_mean" in means}
  result = {}
  for key, value in means.items():
    name = key.removesuffix("_squared")
    if key.endswith("_squared") and name in names:
      result[f"{name}_spread"] = math.sqrt(max(0.0, value - means[f"{name}_mean"] ** 2))
    elif not (key.endswith("_mean") and key.removesuffix("_mean") in names):
      result[key] = value
  return result


def complaints(scores: dict[str, float], step: int, steps_in_all: int) -> list[tuple[str, str]]:
  """(kind, line) of what looks wrong without any truth, after the first part of the training.

  Light that comes from below on average, which mostly means reversed relief; yaws or generated pictures that
  hardly differ; a critic that is wrong, or that tells pictures from generated ones without effort.
  Where truth says how the light should be, its own scores tell more, and nothing is said of it here.
  """
  if step < EARLY * steps_in_all:
    return []
  lines = []
  light, diversity = scores.get("val/light_from_above", 0.0), scores.get("val/diversity")
  if light < 0 and "val/light_error" not in scores:
    text = f"warning: light comes from below on average (light_from_above {light:.2f}): reversed relief?"
    lines.append(("light", text))
  for name in ("yaw_spread", "azimuth_spread"):
    spread = scores.get(f"val/{name}")
    if spread is not None and spread < COLLAPSED:
      text = f"warning: views collapse ({name} {spread:.1f} degrees): turns go into shape"
      lines.append(("views", text))
  if diversity is not None and diversity < ALIKE:
    text = f"warning: generated pictures are alike (diversity {diversity:.2f}, below {ALIKE:g})"
    lines.append(("alike", f"{text}: the generator collapsed; larger batches may help"))
  gap, distance = scores.get("val/critic_gap", 0.0), scores.get("val/distance", math.inf)
  if gap < 0:
    text = f"warning: the critic prefers generated pictures (critic_gap {gap:.2f})"
    lines.append(("critic", f"{text}: it teaches nothing now"))
  if gap > APART * distance:
    text = f"warning: the critic wins (critic_gap {gap:.2f}, above {APART:g} of the distance {distance:.2f})"
    lines.append(("critic wins", f"{text}: a lower optim.learning_rate may help"))
  return lines
