"""How figures look and where they go: inline SVG for pages, PNG, and PNG and PDF on white for papers.

Figures are drawn without pyplot and its global state.
"""

import io
import os
import re
from collections.abc import Callable
from typing import NamedTuple

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pdr_jax.files import write_atomically

PAGE_INK = "#010203"  # stands for the page's text colour until the SVG is written; no colour map has it
PAPER_INK = "#222222"
# Seen on white and on black.
COLOURS = ("#3b82c4", "#e07b39", "#3f9d5a", "#c2527c", "#8b6fc9", "#a08a3c", "#3aa6a6", "#888888")
INKED = (
    "text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color",
    "grid.color",
)
STYLE = {
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS), "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": False, "axes.titlesize": 9, "axes.labelsize": 8, "axes.linewidth": 0.6, "font.size": 8,
    "font.family": "sans-serif", "xtick.labelsize": 7, "ytick.labelsize": 7, "grid.alpha": 0.2,
    "legend.fontsize": 8, "legend.frameon": False, "lines.linewidth": 1.4, "lines.markersize": 4,
    "svg.fonttype": "none", "pdf.fonttype": 42, "text.parse_math": False,
}


class Plot(NamedTuple):
  """A plot: `name` is its file's, `title` says what it is, `draw` makes the figure in the style at hand."""

  name: str
  title: str
  draw: Callable[[], Figure]


def figure(width: float, height: float, *, dpi: float = 100, constrained: bool = False) -> Figure:
  """An empty figure, in inches; `constrained` lets Matplotlib place what is in it."""
  empty = Figure(figsize=(width, height), dpi=dpi, layout="constrained" if constrained else None)
  FigureCanvasAgg(empty)
  return empty


def png(drawn: Figure) -> bytes:
  """The figure as a PNG file."""
  buffer = io.BytesIO()
  drawn.savefig(buffer, format="png")
  return buffer.getvalue()


def save(drawn: Figure, path: str) -> None:
  """Writes a PNG under a temporary name and renames it: a viewer never sees half a picture."""
  data = png(drawn)
  write_atomically(path, lambda file: file.write(data))


def svg(plot: Plot) -> str:
  """The plot as an `<svg>` element whose ink is `currentColor`, on no background.

  Its identifiers do not meet those of other plots.
  """
  buffer = io.BytesIO()
  with matplotlib.rc_context(_with_ink(PAGE_INK) | {"svg.hashsalt": plot.name}):
    plot.draw().savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
  text = buffer.getvalue().decode()
  text = text[text.index("<svg") :].replace(PAGE_INK, "currentColor")
  prefix = re.sub(r"\W", "_", plot.name)
  text = re.sub(r'\bid="', f'id="{prefix}-', text)
  return re.sub(r'(xlink:href="|url\()#', rf"\g<1>#{prefix}-", text)


def save_for_paper(plot: Plot, folder: str) -> None:
  """Writes NAME.png and NAME.pdf, on white."""
  with matplotlib.rc_context(_with_ink(PAPER_INK)):
    drawn = plot.draw()
    for kind in ("png", "pdf"):
      buffer = io.BytesIO()
      drawn.savefig(buffer, format=kind, dpi=200, facecolor="white")
      path = os.path.join(folder, re.sub(r"[^\w.-]+", "_", plot.name) + f".{kind}")
      write_atomically(path, lambda file, buffer=buffer: file.write(buffer.getvalue()))


def _with_ink(ink: str) -> dict:
  return dict.fromkeys(INKED, ink) | STYLE
