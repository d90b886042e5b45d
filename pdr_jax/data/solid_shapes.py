"""The embedded world of solids: bowls, cups, chairs, tables, cars and heads, made of simple bodies.

Each is a function of a random stream and of a grid to the voxels that it occupies. Coordinates run over [-1,
1]: x right, y down, z forward; things stand upright, and what has a front has it at z < 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

KINDS = ("bowl", "cup", "chair", "table", "car", "head")

Occupied = Bool[np.ndarray, "M M M"]


class Grid(NamedTuple):
  """The centres of the voxels, shaped so that they broadcast: z `[M, 1, 1]`, y `[1, M, 1]`, x `[1, 1, M]`."""

  z: Float[np.ndarray, "M 1 1"]
  y: Float[np.ndarray, "1 M 1"]
  x: Float[np.ndarray, "1 1 M"]


def grid(count: int) -> Grid:
  """Of a cube of so many voxels a side."""
  places = ((np.arange(count) + 0.5) / count * 2 - 1).astype(np.float32)
  return Grid(places[:, None, None], places[None, :, None], places[None, None])


def draw(rng: np.random.Generator, kind: int, count: int) -> Occupied:
  """A shape of `KINDS[kind]` in a cube of `count` voxels a side."""
  return MAKERS[kind](rng, grid(count))


# ---------------------------------------------------------------- bodies


def box(g: Grid, centre: tuple[float, float, float], half: tuple[float, float, float]) -> Occupied:
  """Centre and half sides in the order x, y, z."""
  return (
    (np.abs(g.x - centre[0]) <= half[0])
    & (np.abs(g.y - centre[1]) <= half[1])
    & (np.abs(g.z - centre[2]) <= half[2])
  )


def ellipsoid(g: Grid, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Occupied:
  """Centre and radii in the order x, y, z."""
  parts = ((g.x - centre[0]) / radii[0]) ** 2, ((g.y - centre[1]) / radii[1]) ** 2
  return parts[0] + parts[1] + ((g.z - centre[2]) / radii[2]) ** 2 <= 1


def frustum(g: Grid, place: tuple[float, float], top: float, bottom: float, radii: tuple[float, float]):
  """An upright one at (x, z), from y = top to bottom, with its radii there."""
  share = np.clip((g.y - top) / (bottom - top), 0, 1)
  radius = radii[0] + (radii[1] - radii[0]) * share
  inside = (g.x - place[0]) ** 2 + (g.z - place[1]) ** 2 <= radius**2
  return inside & (g.y >= top) & (g.y <= bottom)


def wheel(g: Grid, centre: tuple[float, float, float], radius: float, half: float) -> Occupied:
  """A disc whose axle is along z."""
  round_ = (g.x - centre[0]) ** 2 + (g.y - centre[1]) ** 2 <= radius**2
  return round_ & (np.abs(g.z - centre[2]) <= half)


# ---------------------------------------------------------------- kinds


def bowl(rng: np.random.Generator, g: Grid) -> Occupied:
  """Half an ellipsoid, hollow, on a foot."""
  radius, deep, wall = rng.uniform(0.62, 0.92), rng.uniform(0.45, 0.85), rng.uniform(0.09, 0.13)
  rim = -deep / 2
  outer = ellipsoid(g, (0, rim, 0), (radius, deep, radius)) & (g.y >= rim)
  inner = ellipsoid(g, (0, rim, 0), (radius - wall, deep - wall, radius - wall))
  foot = frustum(g, (0, 0), rim + 0.9 * deep, rim + deep + 0.08, (0.45 * radius, 0.5 * radius))
  return (outer & ~inner) | foot


def cup(rng: np.random.Generator, g: Grid) -> Occupied:
  """A hollow frustum with a handle at x > 0."""
  radius, high, wall = rng.uniform(0.38, 0.5), rng.uniform(0.9, 1.4), 0.1
  low = radius * rng.uniform(0.75, 1.0)
  top, bottom = -high / 2, high / 2
  outer = frustum(g, (0, 0), top, bottom, (radius, low))
  inner = frustum(g, (0, 0), top - 0.1, bottom - wall, (radius - wall, low - wall))
  ring, thick = rng.uniform(0.22, 0.3) * high / 1.1, rng.uniform(0.07, 0.09)
  ring = min(ring, 0.9 - radius)
  away = np.sqrt((g.x - 0.95 * radius) ** 2 + g.y**2)
  handle = ((away - ring) ** 2 + g.z**2 <= thick**2) & (g.x > 0.8 * low)
  return (outer & ~inner) | (handle & ~inner)


def chair(rng: np.random.Generator, g: Grid) -> Occupied:
  """A seat on four legs with a back at z > 0, at times with arms."""
  half, deep = rng.uniform(0.38, 0.5), rng.uniform(0.38, 0.5)
  seat, high = rng.uniform(0.02, 0.2), rng.uniform(0.75, 0.9)
  leg, thick = rng.uniform(0.06, 0.09), rng.uniform(0.06, 0.09)
  shape = box(g, (0, seat, 0), (half, thick, deep))
  for x in (-1, 1):
    for z in (-1, 1):
      place = x * (half - leg), (seat + high) / 2, z * (deep - leg)
      shape |= box(g, place, (leg, (high - seat) / 2, leg))
  back = rng.uniform(0.75, 0.92)
  shape |= box(g, (0, (seat - back) / 2, deep - thick), (half, (seat + back) / 2, thick))
  if rng.random() < 0.3:
    for x in (-1, 1):
      arm = seat - rng.uniform(0.28, 0.36)
      shape |= box(g, (x * (half - leg), arm, 0), (leg, 0.05, deep))
      shape |= box(g, (x * (half - leg), (arm + seat) / 2, leg - deep), (leg, (seat - arm) / 2, leg))
  return shape


def table(rng: np.random.Generator, g: Grid) -> Occupied:
  """A top, square, long or round, on four legs or one."""
  high, thick = rng.uniform(0.4, 0.6), rng.uniform(0.06, 0.1)
  if rng.random() < 0.35:
    radius = rng.uniform(0.65, 0.9)
    shape = frustum(g, (0, 0), -high, 2 * thick - high, (radius, radius))
    shape |= frustum(g, (0, 0), -high, high, (0.11, 0.11))
    return shape | frustum(g, (0, 0), high - 0.12, high, (0.3, 0.45))
  half, deep, leg = rng.uniform(0.6, 0.8), rng.uniform(0.32, 0.5), rng.uniform(0.06, 0.09)
  shape = box(g, (0, thick - high, 0), (half, thick, deep))
  for x in (-1, 1):
    for z in (-1, 1):
      shape |= box(g, (x * (half - leg), 0, z * (deep - leg)), (leg, high, leg))
  return shape


def car(rng: np.random.Generator, g: Grid) -> Occupied:
  """A body along x with its front at x < 0, a cabin and four wheels."""
  half, wide = rng.uniform(0.78, 0.86), rng.uniform(0.3, 0.36)
  body, cabin = rng.uniform(0.13, 0.18), rng.uniform(0.14, 0.2)
  radius = rng.uniform(0.14, 0.19)
  shape = box(g, (0, 0, 0), (half, body, wide))
  back, front = rng.uniform(0.3, half - 0.1), rng.uniform(-0.42, -0.2)
  share = np.clip((-g.y - body) / (2 * cabin), 0, 1)  # of the cabin's height: its ends slope
  left, right = front + 0.22 * share, back - 0.15 * share
  narrow = (wide - 0.03) - 0.06 * share
  over = (g.y <= -body) & (g.y >= -body - 2 * cabin)
  shape |= over & (g.x >= left) & (g.x <= right) & (np.abs(g.z) <= narrow)
  for x in (-0.55, 0.55):
    for z in (-1, 1):
      shape |= wheel(g, (x * half / 0.85, body, z * (wide - 0.04)), radius, 0.07)
  return shape


def head(rng: np.random.Generator, g: Grid) -> Occupied:
  """A skull with a face towards z < 0: jaw, nose and ears, on a neck."""
  wide, tall, deep = rng.uniform(0.42, 0.52), rng.uniform(0.55, 0.66), rng.uniform(0.52, 0.62)
  shape = ellipsoid(g, (0, -0.25, 0.05), (wide, tall, deep))
  jaw = rng.uniform(0.3, 0.42)
  shape |= ellipsoid(g, (0, 0.18, -0.15), (0.75 * wide, jaw, 0.36))
  nose = rng.uniform(0.14, 0.24)
  shape |= ellipsoid(g, (0, -0.02, 0.08 - deep), (0.1, 0.16, nose)) & (g.z < 0)
  for x in (-1, 1):
    shape |= ellipsoid(g, (x * wide, -0.12, 0.08), (0.1, 0.17, 0.1))
  shape |= frustum(g, (0, 0.12), 0.2, 0.92, (0.24, rng.uniform(0.26, 0.36)))
  return shape


MAKERS: tuple[Callable[[np.random.Generator, Grid], Occupied], ...] = (bowl, cup, chair, table, car, head)
