"""Figures of a run: what the model makes of a few pictures, and the course of its metrics. Drawn without pyplot and its global state."""

import io
import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pdr_jax.files import write_atomically
from pdr_jax.methods import Method
from pdr_jax.render.lighting import directional_to_sh

TURN = math.radians(20.0)  # yaw of the turned views
AMBIENT, DIFFUSE = 0.35, 0.75  # of the relighting: enough ambient light to see the dark side
# Column -> (what the picture shows, colour map or None for RGB in [-1, 1]).
COLUMNS = {
    "input": ("input", None),
    "reconstruction": ("reconstruction", None),
    "canonical": ("canonical view", None),
    "albedo": ("albedo", None),
    "shading": ("shading", "gray"),
    "normal": ("normals", None),
    "depth": ("depth (near: bright)", "viridis_r"),
    "confidence": ("predicted deviation", "magma"),
    "lit_left": ("lit from the left", None),
    "lit_right": ("lit from the right", None),
    "turned_left": ("nose to the left", None),
    "frontal": ("frontal", None),
    "turned_right": ("nose to the right", None),
}


def decompose(method: Method, params: dict, images: Float[Array, "B S S 3"]) -> dict[str, np.ndarray]:
  """The columns of `decomposition_sheet` for some images `[B,S,S,3]` in [-1, 1], as far as the method has them.

  A method that decomposes nothing gives its `pictures` instead.
  """
  return jax.device_get(_decompose(method, params, jnp.asarray(images)))


def _decompose_impl(method: Method, params: dict, images: Array) -> dict[str, Array]:
  if method.decompose is None:
    return {"input": images} | method.pictures(params, images)
  parts = method.decompose(params, images)
  columns = {"input": images} | {name: parts[name] for name in COLUMNS if name in parts}
  if method.render is None or "view" not in parts:
    return columns
  count = images.shape[0]
  for name, side in (("lit_left", 1.0), ("lit_right", -1.0)):  # light travels along its direction: to the right when it comes from the left
    direction = jnp.array([side, 0.0, 1.0])
    light = directional_to_sh(jnp.float32(AMBIENT), jnp.float32(DIFFUSE), direction)
    columns[name] = method.render(parts, light=jnp.broadcast_to(light[None], (count, 9)))["image"]
  for name, yaw in (("turned_left", TURN), ("frontal", 0.0), ("turned_right", -TURN)):
    view = jnp.array([0.0, yaw, 0.0, 0.0, 0.0, 0.0])
    columns[name] = method.render(parts, view=jnp.broadcast_to(view[None], (count, 6)))["image"]
  return columns


_decompose = jax.jit(_decompose_impl, static_argnums=0)


def decomposition_sheet(columns: Mapping[str, np.ndarray], title: str = "") -> Figure:
  """One row for each picture, one labelled column for each entry of `columns`: those of `COLUMNS` first, others by their own names.

  Args:
    columns: `{name: [B,S,S,3] RGB in [-1,1]}`; `depth`, `shading` and `confidence` are `[B,S,S]` maps (shading may be coloured),
      `normal` unit vectors.
    title: above the sheet.
  """
  names = [name for name in COLUMNS if name in columns] + [name for name in columns if name not in COLUMNS]
  rows = len(columns[names[0]])
  cell, top = 1.25, 0.75
  figure = Figure(figsize=(cell * len(names), cell * rows + top), dpi=110)
  FigureCanvasAgg(figure)
  axes = figure.subplots(rows, len(names), squeeze=False)
  for column, name in enumerate(names):
    label, colours = COLUMNS.get(name, (name, None))
    values = np.asarray(columns[name], np.float32)
    flat = values.ndim == 3
    low, high = _limits(name, values)
    for row in range(rows):
      axis = axes[row, column]
      if flat:
        axis.imshow(values[row], cmap=colours or "gray", vmin=low, vmax=high, interpolation="nearest")
      else:
        axis.imshow(np.clip((values[row] - low) / (high - low), 0, 1), interpolation="nearest")
      axis.set_axis_off()
    axes[0, column].set_title(label, fontsize=8, pad=4)
  figure.subplots_adjust(left=0.005, right=0.995, bottom=0.005, top=1 - top / (cell * rows + top), wspace=0.04, hspace=0.04)
  figure.suptitle(title, fontsize=10, y=0.99)
  return figure


def _limits(name: str, values: np.ndarray) -> tuple[float, float]:
  """Values shown as black and white: the same for all rows of a column, so that pictures can be compared."""
  if name == "shading":
    return 0.0, max(1.0, float(np.percentile(values, 99.5)))
  if values.ndim == 4:
    return -1.0, 1.0
  low, high = (float(bound) for bound in np.percentile(values, (0.5, 99.5)))
  return low, max(high, low + 1e-6)


def training_curves(records: Sequence[Mapping[str, float]]) -> Figure:
  """Every metric of `metrics.jsonl` over the steps: training losses, validation scores, gradient norms and speed, one panel each."""
  series: dict[str, list[tuple[float, float]]] = {}
  for record in records:
    for name, value in record.items():
      if name != "step":
        series.setdefault(name, []).append((record["step"], value))
  names = sorted(series, key=lambda name: (_GROUPS.get(name.split("/")[0], 9), name))
  across = min(4, max(1, len(names)))
  down = max(1, -(-len(names) // across))
  figure = Figure(figsize=(3.4 * across, 2.3 * down), dpi=100)
  FigureCanvasAgg(figure)
  axes = figure.subplots(down, across, squeeze=False).ravel()
  for axis, name in zip(axes, names, strict=False):
    points = np.array(series[name])
    axis.plot(points[:, 0], points[:, 1], marker="." if len(points) < 30 else None, linewidth=1.2)
    axis.set_title(name, fontsize=9)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)
  for axis in axes[len(names) :]:
    axis.set_axis_off()
  figure.subplots_adjust(left=0.16 / across, right=1 - 0.04 / across, bottom=0.13 / down, top=1 - 0.13 / down, wspace=0.25, hspace=0.35)
  return figure


_GROUPS = {"train": 0, "val": 1, "gradient_norm": 2, "speed": 3}


def save(figure: Figure, path: str) -> None:
  """Writes a PNG under a temporary name and renames it: a viewer never sees half a picture."""
  buffer = io.BytesIO()
  figure.savefig(buffer, format="png")
  write_atomically(path, lambda file: file.write(buffer.getvalue()))
