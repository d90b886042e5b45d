"""What a model makes of a few pictures, as a sheet.

There is one row for each picture, one column for each thing shown.
"""

from collections.abc import Mapping
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from pdr_jax.plots import style


class Column(NamedTuple):
  """What a column shows, and the colour map of its maps; None for pictures."""

  title: str
  colours: str | None = None


# In the order of the sheet. Methods may show others, by their own names.
COLUMNS = {
    "input": Column("input"),
    "reconstruction": Column("reconstruction"),
    "canonical": Column("canonical view"),
    "albedo": Column("albedo"),
    "shading": Column("shading", "gray"),
    "normal": Column("normals"),
    "depth": Column("depth (near: bright)", "viridis_r"),
    "confidence": Column("predicted deviation", "magma"),
    "lit_left": Column("lit from the left"),
    "lit_right": Column("lit from the right"),
    "turned_left": Column("nose to the left"),
    "frontal": Column("frontal"),
    "turned_right": Column("nose to the right"),
}
CELL, TOP = 1.25, 0.75  # inches


def column(name: str) -> Column:
  """That of `COLUMNS`, or one with the name as its title."""
  return COLUMNS.get(name, Column(name))


def in_order(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The columns in the order of `COLUMNS`, others after them."""
  names = [*(name for name in COLUMNS if name in columns), *(name for name in columns if name not in COLUMNS)]
  return {name: columns[name] for name in names}


def decomposition_sheet(columns: Mapping[str, np.ndarray], title: str = "") -> Figure:
  """One row for each picture, one labelled column for each entry of `columns`.

  Args:
    columns: `{name: [B,S,S,C] pictures in [-1, 1], grey or RGB}`; `[B,S,S]` are maps, such as `depth`,
      `shading` and `confidence` (shading may be coloured); `normal` has unit vectors.
    title: above the sheet.
  """
  columns = in_order(columns)
  rows = len(next(iter(columns.values())))
  height = CELL * rows + TOP
  figure = style.figure(CELL * len(columns), height, dpi=110)
  axes = figure.subplots(rows, len(columns), squeeze=False)
  for place, (name, values) in enumerate(columns.items()):
    shown = coloured(name, values)
    for row in range(rows):
      axes[row, place].imshow(shown[row], interpolation="nearest")
      axes[row, place].set_axis_off()
    axes[0, place].set_title(column(name).title, fontsize=8, pad=4)
  figure.subplots_adjust(
      left=0.005, right=0.995, bottom=0.005, top=1 - TOP / height, wspace=0.04, hspace=0.04
  )
  figure.suptitle(title, fontsize=10, y=0.99)
  return figure


def coloured(name: str, values: np.ndarray) -> np.ndarray:
  """Pictures or maps of one column as RGB `[B,S,S,3]` in [0, 1].

  All are on one scale so that they can be compared.
  """
  values = np.asarray(values, np.float32)
  if values.ndim == 4 and values.shape[-1] == 1:
    values = np.repeat(values, 3, axis=-1)
  low, high = limits(name, values)
  scaled = np.clip((values - low) / (high - low), 0, 1)
  if values.ndim == 3:
    return matplotlib.colormaps[column(name).colours or "gray"](scaled)[..., :3]
  return scaled


def limits(name: str, values: np.ndarray) -> tuple[float, float]:
  """Values shown as black and white."""
  if name == "shading":
    return 0.0, max(1.0, float(np.percentile(values, 99.5)))
  if values.ndim == 4:
    return -1.0, 1.0
  low, high = (float(bound) for bound in np.percentile(values, (0.5, 99.5)))
  return low, max(high, low + 1e-6)
