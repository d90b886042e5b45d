"""The course of metrics over the steps of training, of one run or of several."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from pdr_jax.plots import style

Records = Sequence[Mapping[str, float]]  # the lines of metrics.jsonl: {"step": ..., name: average, ...}
Baselines = Mapping[str, Mapping[str, float]]  # of what needs no model: {title: {metric: value}}
_GROUPS = {"train": 0, "val": 1, "gradient_norm": 2, "speed": 3}
ACROSS = 3  # panels of a comparison


def training_curves(records: Records) -> Figure:
  """Every metric of a run: training losses, validation scores, gradient norms and speed, one panel each."""
  series: dict[str, list[tuple[float, float]]] = {}
  for record in records:
    for name, value in record.items():
      if name != "step":
        series.setdefault(name, []).append((record["step"], value))
  names = sorted(series, key=lambda name: (_GROUPS.get(name.split("/")[0], 9), name))
  across = min(4, max(1, len(names)))
  down = max(1, -(-len(names) // across))
  figure = style.figure(3.4 * across, 2.3 * down)
  axes = figure.subplots(down, across, squeeze=False).ravel()
  for axis, name in zip(axes, names, strict=False):
    points = np.array(series[name])
    axis.plot(points[:, 0], points[:, 1], marker="." if len(points) < 30 else None, linewidth=1.2)
    axis.set_title(name, fontsize=9)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)
  for axis in axes[len(names) :]:
    axis.set_axis_off()
  figure.subplots_adjust(
      left=0.16 / across, right=1 - 0.04 / across, bottom=0.13 / down, top=1 - 0.13 / down, wspace=0.25,
      hspace=0.35,
  )
  return figure


def comparison(runs: Mapping[str, Records], group: str, baselines: Baselines | None = None) -> Figure:
  """One panel for each metric of a group (`val/`), one line for each run.

  A line is dashed where a baseline needs no model.
  """
  keys = {key for records in runs.values() for record in records for key in record}
  names = sorted(key for key in keys if key.startswith(group))
  down = -(-len(names) // ACROSS)
  figure = style.figure(3.3 * ACROSS, 2.2 * down + 0.4, constrained=True)
  axes = figure.subplots(down, ACROSS, squeeze=False).ravel()
  handles = {}
  for axis, name in zip(axes, names, strict=False):
    for colour, (label, records) in zip(style.COLOURS * len(runs), runs.items(), strict=False):
      points = [(record["step"], record[name]) for record in records if name in record]
      if points:
        marker = "." if len(points) < 30 else ""
        handles[label], = axis.plot(*zip(*points, strict=True), color=colour, marker=marker)
    for dashes, (label, scores) in zip(("--", ":", "-."), (baselines or {}).items(), strict=False):
      if name in scores:
        handles[label] = axis.axhline(scores[name], linestyle=dashes, color="#888888")
    axis.set_title(name.removeprefix(group).replace("_", " "))
  for axis in axes[len(names) :]:
    axis.set_axis_off()
  figure.legend(handles.values(), handles, loc="outside lower center", ncols=4)
  return figure
