"""Validation passes: the method's scores over the whole split, beside those of what needs no model."""

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
    self.examples = 0  # of the split, known after the first pass

  def check_best_metric(self, state: Any, name: str) -> None:
    """Raises `UserError` when validation does not give the metric that is to choose the best checkpoint.

    Nothing is computed.
    """
    batch = steps.place(next(iter(self._batches)))
    names = jax.eval_shape(self._validate, state, batch).names
    if name not in names:
      raise UserError(f"config.train.best_metric = {name!r}: must be one of {', '.join(names)}")

  def scores(self, state: Any, step: int) -> dict[str, float]:
    """Means over all validation examples. Raises `NonFinite`."""
    meter = Meter()
    for batch in pipeline.finite_prefetch(self._batches, steps.place):
      meter.add(step, self._validate(state, batch).fetch())
    self.examples = int(max((count for _, count in meter.sums().values()), default=0))
    return meter.means()

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
