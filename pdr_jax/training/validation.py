"""Validation passes: the method's scores over the whole split, and the two baselines that need no model."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from pdr_jax.data import pipeline
from pdr_jax.errors import UserError
from pdr_jax.evaluation import geometry
from pdr_jax.methods import Method
from pdr_jax.training import distributed
from pdr_jax.training import step as steps
from pdr_jax.training.logging import Meter

PICTURES = 8  # fixed validation pictures in the figures


class Validator:
  """The validation split of a run, gone through in the same order each time.

  Args:
    method: its `validate` gives the scores.
    batches: can be iterated over again and again; `_mask` marks what is not padding.
    config: `scene.fov` for the baselines.
  """

  def __init__(self, method: Method, batches: Iterable[dict], config: ConfigDict):
    self._validate, self._batches, self._config = steps.validate_fn(method), batches, config
    self._baselines: dict[str, dict[str, float]] | None = None
    self.examples = 0  # images of the split, known after the first pass
    self.average_depth: np.ndarray | None = None  # [S, S], known after `baselines` where there is truth

  def check_best_metric(self, state: Any, name: str) -> None:
    """Raises `UserError` when validation does not give the metric that is to choose the best checkpoint. Nothing is computed."""
    batch = steps.place(next(iter(self._batches)))
    names = jax.eval_shape(self._validate, state, batch).names
    if name not in names:
      raise UserError(f"config.train.best_metric = {name!r}: must be one of {', '.join(names)}")

  def scores(self, state: Any, step: int) -> dict[str, float]:
    """Means over all validation images. Raises `NonFinite`."""
    meter = Meter()
    for batch in pipeline.finite_prefetch(self._batches, steps.place):
      meter.add(step, self._validate(state, batch).fetch())
    self.examples = int(max((count for _, count in meter.sums().values()), default=0))
    return meter.means()

  def pictures(self) -> np.ndarray:
    """The first images of the split, `[8, S, S, 3]` (fewer in a smaller split)."""
    batch = next(iter(self._batches))
    return np.asarray(batch["image"])[np.asarray(batch["_mask"]) > 0][:PICTURES]

  def baselines(self) -> dict[str, dict[str, float]]:
    """SIDE and MAD of a constant depth and of the average true depth, by the names of the model's metrics; empty without truth."""
    if self._baselines is None:
      self._baselines = self._compute_baselines()
    return self._baselines

  def _compute_baselines(self) -> dict[str, dict[str, float]]:
    first = next(iter(self._batches))
    if "depth" not in first or "mask" not in first:
      return {}
    # Sums per pixel, so that the whole split need not fit into memory.
    total, count = (np.zeros(first["depth"].shape[1:], np.float32) for _ in range(2))
    for batch in self._batches:
      more = jax.jit(geometry.depth_totals)(batch["depth"], batch["mask"] * batch["_mask"][:, None, None])
      total, count = total + np.asarray(more[0]), count + np.asarray(more[1])
    total, count = distributed.sums({"total": total, "count": count}).values()  # each process has its part of the split
    def totals(depth: jax.Array, batch: dict) -> dict:
      scores = geometry.baseline_scores(depth, batch["depth"], batch["mask"], fov=self._config.scene.fov)
      return geometry.totals({name: scores[name] for name in ("side", "mad", "relief", "covered")}, batch["_mask"])

    totals = jax.jit(totals)
    self.average_depth = np.asarray(geometry.average_depth(total, count))
    maps = {"constant depth": np.ones_like(total), "average true depth": self.average_depth}
    meters = {name: Meter() for name in maps}
    for batch in self._batches:
      truth = {name: batch[name] for name in ("depth", "mask", "_mask")}
      for name, depth in maps.items():
        meters[name].add(0, {key: np.asarray(pair, np.float64) for key, pair in totals(depth, truth).items() if key != "covered"})
    for name, meter in meters.items():
      meters[name] = Meter(distributed.sums({key: np.asarray(pair) for key, pair in meter.sums().items()}))
    return {name: {f"val/{key}": value for key, value in meter.means().items()} for name, meter in meters.items()}

  def line(self, step: int, scores: dict[str, float]) -> str:
    """One line for the user: every score, and the baselines' where they exist."""
    parts = []
    for name, value in scores.items():
      others = [f"{title} {entry[name]:.4g}" for title, entry in self.baselines().items() if name in entry and name != "val/relief"]
      parts.append(f"{name.removeprefix('val/')} {value:.4g}" + (f" ({', '.join(others)})" if others else ""))
    return f"step {step} validation: " + "; ".join(parts)
