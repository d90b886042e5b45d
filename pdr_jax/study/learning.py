"""Curves of the light probe over training, one line for each method: does more training still help?"""

from collections.abc import Sequence

import numpy as np

from pdr_jax.evaluation.joined import Curves, Point
from pdr_jax.evaluation.records import Figure
from pdr_jax.study.plan import Entry
from pdr_jax.training.light_probe import METRIC
from pdr_jax.training.metric_log import read_metrics

FIGURE = Figure("curves", METRIC, "light probe over training", "pictures seen", "balanced accuracy")


def curves(entries: Sequence[Entry]) -> Curves | None:
  """Means over seeds of `val/probe` by pictures seen; None where no run has it (`train.probe_examples`)."""
  values: dict[str, dict[int, list[float]]] = {}
  for entry in entries:
    if entry.trained:
      for line in read_metrics(entry.folder):
        if METRIC in line:
          pictures = line["step"] * entry.run.train.batch_size
          values.setdefault(entry.method, {}).setdefault(pictures, []).append(line[METRIC])
  lines = {method: [_point(*pair) for pair in sorted(points.items())] for method, points in values.items()}
  return Curves("probe", FIGURE, {"": lines}) if lines else None


def _point(pictures: int, values: Sequence[float]) -> Point:
  spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
  return float(pictures), float(np.mean(values)), spread
