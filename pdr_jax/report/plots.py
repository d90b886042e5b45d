"""The report's plots, styled once: inline SVG whose ink is the page's text colour (light and dark), and PNG and PDF on white for papers."""

import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pdr_jax.evaluation import suite_table
from pdr_jax.files import write_atomically
from pdr_jax.report import curves, figures, heat_map
from pdr_jax.report.runs import Run

PAGE_INK = "#010203"  # stands for the page's text colour until the SVG is written, and is no colour of a colour map
PAPER_INK = "#222222"
COLOURS = ("#3b82c4", "#e07b39", "#3f9d5a", "#c2527c", "#8b6fc9", "#a08a3c", "#3aa6a6", "#888888")  # seen on white and on black
SHOWN = ("val/", "train/")  # groups of metrics with a panel of their own
ACROSS = 3


class Plot(NamedTuple):
  """A plot: `name` is its file's, `title` says what it is, `draw` makes the figure in the style at hand."""

  name: str
  title: str
  draw: Callable[[], Figure]


def of_runs(runs: Sequence[Run]) -> list[Plot]:
  """Training curves of all runs, robustness curves of all methods, and a heat map for each method with true factors."""
  plots = []
  for group, title in zip(SHOWN, ("Validation", "Training"), strict=True):
    series = {run.name: run for run in runs if any(key.startswith(group) for record in run.records for key in record)}
    if series:
      plots.append(Plot(f"curves_{group[:-1]}", f"{title} over the steps", lambda series=series, group=group: training(series, group)))
  results = {_label(run, method, runs): found for run in runs for method, found in run.results.items()}
  for kind in ("light", "view"):
    panels = suite_table.robustness_lines(results, f"robustness/{kind}")
    if panels:
      plots.append(Plot(f"robustness_{kind}", f"Robustness: probes outside of the training range of {kind}, all features",
                        lambda panels=panels: curves.curves(panels, across="degrees outside of the training range",
                                                            upwards="balanced accuracy")))
  for method, matrix in suite_table.factor_matrices(results).items():
    plots.append(Plot(f"factors_{method}", f"{method}: features (rows) that tell a factor (columns)",
                      lambda matrix=matrix: heat_map.heat_map(matrix, label="held-out R2 of a ridge")))
  return plots


def training(runs: Mapping[str, Run], group: str) -> Figure:
  """One panel for each metric of a group, one line for each run; dashed and dotted where a baseline needs no model."""
  names = sorted({key for run in runs.values() for record in run.records for key in record if key.startswith(group)})
  down = -(-len(names) // ACROSS)
  figure = Figure(figsize=(3.3 * ACROSS, 2.2 * down + 0.4), layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.subplots(down, ACROSS, squeeze=False).ravel()
  handles = {}
  for axis, name in zip(axes, names, strict=False):
    for colour, (label, run) in zip(COLOURS * len(runs), runs.items(), strict=False):
      points = [(record["step"], record[name]) for record in run.records if name in record]
      if points:
        handles[label], = axis.plot(*zip(*points, strict=True), color=colour, marker="." if len(points) < 30 else "")
    for style, (label, scores) in zip(("--", ":"), next(iter(runs.values())).summary.get("baselines", {}).items(), strict=False):
      if name in scores:
        handles[label] = axis.axhline(scores[name], linestyle=style, color="#888888")
    axis.set_title(name.removeprefix(group).replace("_", " "))
  for axis in axes[len(names):]:
    axis.set_axis_off()
  figure.legend(handles.values(), handles, loc="outside lower center", ncols=4)
  return figure


def svg(plot: Plot) -> str:
  """The plot as an `<svg>` element whose ink is `currentColor`, on no background; identifiers do not meet those of other plots."""
  buffer = io.BytesIO()
  with matplotlib.rc_context(_style(PAGE_INK) | {"svg.hashsalt": plot.name}):
    plot.draw().savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
  text = buffer.getvalue().decode()
  text = text[text.index("<svg"):].replace(PAGE_INK, "currentColor")
  prefix = re.sub(r"\W", "_", plot.name)
  text = re.sub(r'\bid="', f'id="{prefix}-', text)
  return re.sub(r'(xlink:href="|url\()#', rf"\g<1>#{prefix}-", text)


def save(plots: Sequence[Plot], shown: Mapping[str, object], folder: str) -> None:
  """Writes every plot, and the gallery and the failures of every run (`report.pictures.Pictures`), as NAME.png and NAME.pdf."""
  sheets = []
  for name, pictures in shown.items():
    if isinstance(pictures, str):
      continue
    for kind, columns in (("gallery", pictures.gallery), ("failures", pictures.failures)):
      if columns:
        sheets.append(Plot(f"{kind}_{name}", "", lambda columns=columns: figures.decomposition_sheet(columns)))
  for plot in (*plots, *sheets):
    with matplotlib.rc_context(_style(PAPER_INK)):
      figure = plot.draw()
      for kind in ("png", "pdf"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=200, facecolor="white")
        path = os.path.join(folder, re.sub(r"[^\w.-]+", "_", plot.name) + f".{kind}")
        write_atomically(path, lambda file, buffer=buffer: file.write(buffer.getvalue()))


def _label(run: Run, method: str, runs: Sequence[Run]) -> str:
  """A method of a suite carries the suite's name where there are others."""
  return method if run.config is not None or len(runs) == 1 else f"{run.name} {method}"


def _style(ink: str) -> dict:
  inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color", "grid.color")
  return {name: ink for name in inked} | {
      "axes.prop_cycle": matplotlib.cycler(color=COLOURS), "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False,
      "axes.titlesize": 9, "font.size": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 8,
      "legend.frameon": False, "lines.linewidth": 1.4, "lines.markersize": 4, "grid.alpha": 0.2, "axes.linewidth": 0.6,
      "svg.fonttype": "none", "pdf.fonttype": 42, "font.family": "sans-serif", "text.parse_math": False,
  }
