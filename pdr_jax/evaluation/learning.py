"""Curves of the light probe over training, one line for each method of a study: does more training help?"""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from pdr_jax.evaluation.joined import Curves, Point
from pdr_jax.evaluation.records import Figure
from pdr_jax.training import run_dir
from pdr_jax.training.light_probe import METRIC
from pdr_jax.training.metric_log import PROCESSOR_SECONDS, read_metrics

HOUR = 3600.0
TITLE, UPWARDS = "light probe over training", "balanced accuracy"
ACROSS = {"probe": "pictures seen", "probe_by_processor_time": "processor time, hours"}


def curves(folders: Mapping[str, Sequence[str]]) -> list[Curves]:
  """Means over seeds of `val/probe` by pictures seen, and by the processor time that they took.

  `folders`: the runs of each method. Empty where no run has it (`train.probe_examples`).
  """
  values: dict[str, dict[str, dict[int, list[tuple[float, float]]]]] = {name: {} for name in ACROSS}
  for method, runs in folders.items():
    for folder in filter(_has_metrics, runs):
      size = run_dir.read_config(folder).train.batch_size
      for line in read_metrics(folder):
        if METRIC in line:
          places = {"probe": line["step"] * size}
          if PROCESSOR_SECONDS in line:  # runs of before do not say it
            places["probe_by_processor_time"] = line[PROCESSOR_SECONDS] / HOUR
          for name, place in places.items():
            pairs = values[name].setdefault(method, {}).setdefault(line["step"], [])
            pairs.append((place, line[METRIC]))
  drawn = []
  for name, of_methods in values.items():
    if of_methods:
      figure = Figure("curves", METRIC, TITLE, ACROSS[name], UPWARDS)
      lines = {
          method: [_point(pairs) for _, pairs in sorted(steps.items())]
          for method, steps in of_methods.items()
      }
      drawn.append(Curves(name, figure, {"": lines}))
  return drawn


def _has_metrics(folder: str) -> bool:
  return all(os.path.exists(os.path.join(folder, name)) for name in (run_dir.METRICS, run_dir.CONFIG))


def _point(pairs: Sequence[tuple[float, float]]) -> Point:
  places, values = zip(*pairs, strict=True)
  spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
  return float(np.mean(places)), float(np.mean(values)), spread
