"""Which row tells which column, such as feature blocks and factors.

It is a matrix as a picture, with its numbers.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pdr_jax.plots import style


def heat_map(
    rows: Mapping[str, Mapping[str, float]],
    title: str = "",
    *,
    low: float = 0.0,
    high: float = 1.0,
    label: str = "",
) -> Figure:
  """A matrix `{row: {column: value}}` from white (`low`) to dark (`high`).

  A frame marks where row and column have the same name. `label` says what the values are. Columns are those
  of the first row; a value that a row lacks stays blank.
  """
  names, columns = list(rows), list(rows[next(iter(rows))])
  values = np.array([[rows[name].get(column, np.nan) for column in columns] for name in names], float)
  figure = style.figure(1.9 + 0.95 * len(columns), 1.3 + 0.5 * len(names), dpi=110, constrained=True)
  axis = figure.subplots()
  image = axis.imshow(values, cmap="Blues", vmin=low, vmax=high, aspect="auto")
  axis.set_xticks(range(len(columns)), columns)
  axis.set_yticks(range(len(names)), names)
  axis.tick_params(length=0, labelsize=9)
  axis.spines[:].set_visible(False)
  for row, name in enumerate(names):
    for column, factor in enumerate(columns):
      value = values[row, column]
      if np.isfinite(value):
        colour = "white" if value > low + 0.6 * (high - low) else "black"
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9, color=colour)
      if name == factor:
        corner = (column - 0.47, row - 0.46)
        axis.add_patch(Rectangle(corner, 0.94, 0.92, fill=False, edgecolor="black", linewidth=1.6))
  figure.colorbar(image, ax=axis, fraction=0.06, pad=0.03).set_label(label, fontsize=8)
  axis.set_title(title, fontsize=10)
  return figure
