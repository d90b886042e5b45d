"""The embedded head: a template, and linear modes of identity, expression and hair.

The template is sculpted from smooth unions of ellipsoids. Sculpting frame (this file and `paint.py` only): x
right, y **up**, z **out of the face**, origin between the ears, one unit is half the height of a head (about
112 mm): chin at y = -1, crown at y = 1, eyes at y = 0. `to_canonical` takes it to the canonical frame.
Everything is exactly symmetric under x -> -x. NumPy float64, computed once.
"""

from typing import NamedTuple

import numpy as np

from pdr_jax.data.scenes.paint import HAIRLINE, MOUTH, MOUTH_SINE

# Model units (canonical frame) for one sculpting unit: the face fills a 10 degree picture at distance 1.
UNIT = 0.11
PIVOT = np.array([0.0, -0.20, 0.32])  # the sculpting point that sits at (0, 0, 1) and about which views turn
COLUMNS, ROWS = 83, 72   # of the grid of directions; odd, so that the middle column is the plane of symmetry


class ShapeModel(NamedTuple):
  """Linear shape model in the canonical frame: `vertices + sum_m weight_m modes_m`.

  vertices [V, 3] float32, absolute (pivot at (0, 0, 1)); faces [F, 3] int32; modes [M, V, 3] float32; names:
  M mode names; coords [V, 3] float32: the sculpting coordinates that `paint.py` paints by; incident [V, 8]
  int32: faces around a vertex, padded with F; material [F] int32: what a face is made of, where not all is
  one.
  """

  vertices: np.ndarray
  faces: np.ndarray
  modes: np.ndarray
  names: tuple
  coords: np.ndarray
  incident: np.ndarray
  material: np.ndarray | None = None


def to_canonical(points, unit=UNIT, pivot=PIVOT):
  """Sculpting coordinates [..., 3] to the canonical frame (x right, y down, z away from the camera)."""
  return (points - pivot) * np.array([unit, -unit, -unit]) + np.array([0.0, 0.0, 1.0])


def incident_faces(faces, count, width=None):
  """[V, width] int32 faces that touch each vertex, padded with F (the number of faces)."""
  vertex = faces.reshape(-1)
  face = np.repeat(np.arange(len(faces)), 3)
  order = np.argsort(vertex, kind="stable")
  vertex, face = vertex[order], face[order]
  slot = np.arange(len(vertex)) - np.searchsorted(vertex, vertex)
  table = np.full((count, width or int(slot.max()) + 1), len(faces), np.int32)
  table[vertex, slot] = face
  return table


IDENTITY = (
  "size", "width", "height", "depth", "jaw_width", "chin_width", "chin_length", "chin_forward", "jaw_drop",
  "cheekbones", "cheeks_full", "forehead_slope", "forehead_width", "brow_ridge", "brow_height",
  "eye_spacing", "eye_height", "eye_size", "eye_slant", "eye_deep", "nose_width", "nose_length",
  "nose_forward", "nose_tip_up", "nose_bridge", "nose_bridge_width", "mouth_width", "mouth_height",
  "mouth_forward", "lips_full", "ears", "neck_width",
)
EXPRESSION = (
  "smile", "frown", "mouth_open", "teeth_show", "pucker", "brow_up", "brow_down", "cheek_puff", "squint",
)
HAIR = ("hair_cap", "hair_top", "hair_long", "hair_wide", "hair_fringe")


# ------------------------------------------------------------------------------------------ sculpture
def _ellipsoid(p, centre, radii, tilt=0.0):
  """Signed pseudo-distance to an ellipsoid; tilt (radians) turns it about x. Negative inside."""
  q = p - np.asarray(centre)
  if tilt:
    c, s = np.cos(tilt), np.sin(tilt)
    q = np.stack([q[..., 0], c * q[..., 1] + s * q[..., 2], c * q[..., 2] - s * q[..., 1]], -1)
  r = np.asarray(radii)
  k0 = np.linalg.norm(q / r, axis=-1)
  k1 = np.maximum(np.linalg.norm(q / r**2, axis=-1), 1e-9)
  return k0 * (k0 - 1) / k1


def _capsule(p, a, b, ra, rb):
  """Signed distance to a round cone between a (radius ra) and b (radius rb), to first order."""
  a, b = np.asarray(a), np.asarray(b)
  t = np.clip(((p - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
  return np.linalg.norm(p - a - t[..., None] * (b - a), axis=-1) - (ra + (rb - ra) * t)


def _join(a, b, k):
  """Smooth union with blend width k."""
  h = np.clip(0.5 + 0.5 * (b - a) / k, 0, 1)
  return b * (1 - h) + a * h - k * h * (1 - h)


def _carve(a, b, k):
  """a minus b, smoothly."""
  return -_join(-a, b, k)


def mouth_line(x):
  """Height of the line between the closed lips of the sculpture.

  It is a row of the grid of directions, so that the mouth can open there.
  """
  return -0.604 + 1.0 * x * x


def head_distance(p):
  """Signed pseudo-distance [N] of the sculpted head at points [N, 3]; even in x."""
  p = np.concatenate([np.abs(p[..., :1]), p[..., 1:]], -1)
  d = _ellipsoid(p, (0, 0.27, -0.02), (0.67, 0.73, 0.86))                      # cranium
  d = _join(d, _ellipsoid(p, (0, 0.34, 0.36), (0.50, 0.40, 0.47)), 0.20)       # forehead
  d = _join(d, _ellipsoid(p, (0, -0.25, 0.26), (0.575, 0.62, 0.50)), 0.12)     # middle face
  d = _join(d, _ellipsoid(p, (0, -0.60, 0.34), (0.395, 0.38, 0.41)), 0.15)      # lower face
  d = _join(d, _ellipsoid(p, (0.34, -0.57, 0.14), (0.14, 0.20, 0.24)), 0.15)   # corner of the jaw
  d = _join(d, _ellipsoid(p, (0, -0.86, 0.615), (0.20, 0.14, 0.175)), 0.14)    # chin
  d = _join(d, _ellipsoid(p, (0.40, -0.21, 0.46), (0.19, 0.15, 0.20)), 0.14)   # cheekbones
  d = _join(d, _ellipsoid(p, (0.20, -0.42, 0.56), (0.19, 0.18, 0.19)), 0.12)   # cheeks beside the nose
  d = _join(d, _capsule(p, (0.0, 0.13, 0.71), (0.40, 0.15, 0.56), 0.095, 0.09), 0.10)  # brow ridge
  d = _carve(d, _ellipsoid(p, (0.285, 0.0, 0.86), (0.175, 0.105, 0.20)), 0.10)  # eye sockets
  d = _join(
    d, _ellipsoid(p, (0.285, -0.005, 0.585), (0.135, 0.115, 0.125)), 0.025
  )  # eyeballs under their lids
  d = _join(d, _capsule(p, (0, 0.07, 0.74), (0, -0.31, 0.90), 0.055, 0.085), 0.09)  # bridge of the nose
  d = _join(d, _ellipsoid(p, (0, -0.345, 0.925), (0.095, 0.085, 0.105)), 0.06)  # tip
  d = _join(d, _ellipsoid(p, (0.098, -0.375, 0.835), (0.065, 0.066, 0.085)), 0.045)  # wings
  d = _carve(d, _ellipsoid(p, (0.052, -0.448, 0.90), (0.026, 0.035, 0.045)), 0.02)  # nostrils
  d = _join(d, _ellipsoid(p, (0, -0.585, 0.60), (0.27, 0.20, 0.22)), 0.12)     # muzzle
  d = _carve(d, _capsule(p, (0, -0.47, 0.895), (0, -0.53, 0.90), 0.022, 0.022), 0.05)  # philtrum
  d = _join(d, _capsule(p, (0, -0.565, 0.805), (0.20, -0.555, 0.69), 0.054, 0.022), 0.04)  # upper lip
  d = _join(d, _capsule(p, (0, -0.672, 0.785), (0.16, -0.600, 0.715), 0.066, 0.028), 0.04)  # lower lip
  beside = np.hypot(p[..., 1] - mouth_line(p[..., 0]), np.maximum(p[..., 0] - 0.185, 0))
  groove = np.hypot(beside, np.maximum(0.875 - 2.4 * p[..., 0] ** 2 - p[..., 2], 0)) - 0.014
  d = _carve(d, groove, 0.03)  # the line between the lips
  d = _carve(
    d, _capsule(p, (0, -0.775, 0.875), (0.10, -0.765, 0.83), 0.05, 0.03), 0.07
  )  # hollow under the lower lip
  d = _join(d, _ellipsoid(p, (0.665, -0.13, -0.04), (0.085, 0.22, 0.14)), 0.06)  # ears
  return _join(d, _capsule(p, (0, -2.6, -0.24), (0, -0.5, -0.14), 0.42, 0.36), 0.12)  # neck


def _knots(knots, count):
  """Samples of the polyline through (position in 0..1, value) knots: the density of rows or columns."""
  position, value = np.array(knots).T
  return np.interp(np.linspace(0, 1, count), position, value)


def _directions():
  """Unit rays [ROWS, COLUMNS, 3], dense over the face; the back of the head, never seen, is left out."""
  half = _knots([(0, 0), (0.40, 21.5), (0.70, 48), (0.88, 80), (1.0, 136)], COLUMNS // 2 + 1)
  azimuth = np.deg2rad(np.concatenate([-half[:0:-1], half]))
  knots = [
    (0, -81),
    (0.06, -62),
    (0.14, -50),
    (0.32, -38.5),
    (0.46, -29),
    (0.60, -12),
    (0.77, 6),
    (0.87, 22),
    (1, 88),
  ]
  elevation = _knots(knots, ROWS)
  seam = np.argmin(np.abs(elevation - MOUTH))
  elevation[seam:seam + 2] = MOUTH - 0.3, MOUTH + 0.3  # two rows close together: the line between the lips
  elevation = np.deg2rad(elevation)[:, None]
  ones = np.ones_like(azimuth)[None]
  return np.stack(
    [np.cos(elevation) * np.sin(azimuth), np.sin(elevation) * ones, np.cos(elevation) * np.cos(azimuth)], -1
  )


def sculpt():
  """Template points [ROWS, COLUMNS, 3] in the sculpting frame.

  They lie where the rays from the origin leave the head (outermost crossing).
  """
  rays = _directions()
  radii = np.linspace(0.4, 2.4, 81)
  inside = np.stack([head_distance(rays * r) < 0 for r in radii])
  last = len(radii) - 1 - np.argmax(inside[::-1], axis=0)
  low, high = radii[last], radii[np.minimum(last + 1, len(radii) - 1)]
  for _ in range(30):
    middle = (low + high) / 2
    keep = head_distance(rays * middle[..., None]) < 0
    low, high = np.where(keep, middle, low), np.where(keep, high, middle)
  points = rays * low[..., None]
  return (points + points[:, ::-1] * np.array([-1, 1, 1])) / 2  # exact symmetry to the last bit


def grid_normals(points):
  """Outward unit normals [R, C, 3] of grid points by central differences."""
  row, column = np.gradient(points, axis=0), np.gradient(points, axis=1)
  normal = np.cross(column, row)
  return normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)


# ---------------------------------------------------------------------------------------------- modes
def bump(value, centre, width):
  return np.exp(-0.5 * ((value - centre) / width) ** 2)


def step(value, low, high):
  t = np.clip((value - low) / (high - low), 0, 1)
  return t * t * (3 - 2 * t)


def field(shape, dx=0.0, dy=0.0, dz=0.0):
  return np.stack([np.broadcast_to(v, shape) for v in (dx, dy, dz)], -1)


def identity_modes(p):
  """{name: displacement [..., 3]} at one standard deviation, for sculpting points p [..., 3].

  Of a displacement x is odd, and y and z are even, in x.
  """
  x, y, z = np.moveaxis(p, -1, 0)
  ax, s = np.abs(x), x.shape
  front = step(z, 0.1, 0.5)
  def spot(cx, cy, wx, wy):
    return bump(ax, cx, wx) * bump(y, cy, wy) * front
  nose = np.exp(-0.5 * (x / 0.13) ** 2) * step(y, -0.52, -0.36) * step(-y, -0.16, 0.16) * step(z, 0.55, 0.85)
  tip = spot(0, -0.36, 0.13, 0.09) * step(z, 0.6, 0.9)
  lower = step(-y, 0.25, 0.95)
  eyes = bump(ax, 0.29, 0.15) * bump(y, 0.02, 0.13) * front
  mouth = bump(x, 0, 0.24) * bump(y, -0.61, 0.10) * front
  return {
    "size": 0.035 * p,
    "width": field(s, dx=0.045 * x),
    "height": field(s, dy=0.04 * (y + 0.1)),
    "depth": field(s, dz=0.05 * (z - 0.2)),
    "jaw_width": field(s, dx=0.10 * x * bump(y, -0.70, 0.26)),
    "chin_width": field(s, dx=0.14 * x * bump(y, -0.93, 0.14) * front),
    "chin_length": field(s, dy=-0.045 * lower),
    "chin_forward": field(s, dz=0.05 * spot(0, -0.90, 0.22, 0.13)),
    "jaw_drop": field(s, dy=-0.05 * bump(ax, 0.42, 0.16) * bump(y, -0.66, 0.2)),
    "cheekbones": field(
      s, dx=0.035 * np.sign(x) * spot(0.46, -0.18, 0.16, 0.13), dz=0.035 * spot(0.40, -0.19, 0.15, 0.12)
    ),
    "cheeks_full": field(
      s, dx=0.05 * np.sign(x) * spot(0.42, -0.48, 0.18, 0.16), dz=0.05 * spot(0.34, -0.48, 0.15, 0.15)
    ),
    "forehead_slope": field(s, dz=0.05 * (y - 0.25) * step(y, 0.15, 0.5) * front),
    "forehead_width": field(s, dx=0.05 * x * bump(y, 0.5, 0.28)),
    "brow_ridge": field(s, dz=0.028 * bump(ax, 0.22, 0.17) * bump(y, 0.13, 0.07) * front),
    "brow_height": field(s, dy=0.022 * bump(ax, 0.27, 0.2) * bump(y, 0.17, 0.08) * front),
    "eye_spacing": field(s, dx=0.017 * np.sign(x) * eyes),
    "eye_height": field(s, dy=0.016 * eyes),
    "eye_size": field(s, dx=0.06 * (ax - 0.29) * np.sign(x) * eyes, dy=0.10 * y * eyes),
    "eye_slant": field(s, dy=0.10 * (ax - 0.29) * eyes),
    "eye_deep": field(s, dz=-0.022 * bump(ax, 0.27, 0.13) * bump(y, 0.02, 0.09) * front),
    "nose_width": field(s, dx=0.16 * x * bump(y, -0.38, 0.11) * np.exp(-0.5 * (x / 0.17) ** 2) * front),
    "nose_length": field(s, dy=-0.035 * bump(x, 0, 0.15) * bump(y, -0.38, 0.13) * step(z, 0.55, 0.85)),
    "nose_forward": field(s, dz=0.055 * nose),
    "nose_tip_up": field(s, dy=0.028 * tip, dz=0.012 * tip),
    "nose_bridge": field(s, dz=0.035 * np.exp(-0.5 * (x / 0.07) ** 2) * bump(y, -0.08, 0.12) * front),
    "nose_bridge_width": field(
      s, dx=0.25 * x * np.exp(-0.5 * (x / 0.12) ** 2) * bump(y, -0.08, 0.14) * front
    ),
    "mouth_width": field(s, dx=0.10 * x * bump(y, -0.61, 0.09) * np.exp(-0.5 * (x / 0.26) ** 4) * front),
    "mouth_height": field(s, dy=0.020 * mouth),
    "mouth_forward": field(s, dz=0.028 * mouth),
    "lips_full": field(
      s,
      dy=0.30 * (y + 0.612) * bump(x, 0, 0.17) * bump(y, -0.615, 0.06) * front,
      dz=0.016 * bump(x, 0, 0.14) * bump(y, -0.615, 0.06) * front,
    ),
    "ears": field(s, dx=0.03 * np.sign(x) * bump(y, -0.13, 0.2) * bump(z, -0.06, 0.09) * step(ax, 0.6, 0.7)),
    "neck_width": field(s, dx=0.10 * x * step(-y, 0.95, 1.2), dz=0.05 * z * step(-y, 0.95, 1.2)),
  }


def expression_modes(p):
  """{name: displacement [..., 3]} at full strength 1."""
  x, y, z = np.moveaxis(p, -1, 0)
  ax, sx, s = np.abs(x), np.sign(x), x.shape
  front = step(z, 0.1, 0.5)
  corner = bump(ax, 0.22, 0.09) * bump(y, -0.57, 0.10) * front
  cheek = bump(ax, 0.34, 0.12) * bump(y, -0.36, 0.13) * front
  across = np.exp(-0.5 * (x / 0.17) ** 4)
  below = (y < MOUTH_SINE * np.linalg.norm(p, axis=-1)) * 1.0  # the line between the lips opens
  jaw = (
    below
    * (0.35 + 0.65 * across)
    * step(-y, 0.55, 0.62)
    * (1 - 0.85 * step(ax, 0.2, 0.5))
    * (1 - step(-y, 1.02, 1.25))
    * front
  )
  upper = (1 - below) * np.exp(-0.5 * (x / 0.14) ** 4) * bump(y, -0.585, 0.035) * front
  brow = bump(y, 0.19, 0.10) * front
  return {
    "smile": field(
      s, dx=0.055 * sx * corner, dy=0.065 * corner + 0.02 * cheek, dz=-0.035 * corner + 0.055 * cheek
    ),
    "frown": field(s, dx=-0.01 * sx * corner, dy=-0.05 * corner),
    "mouth_open": field(s, dy=-0.19 * jaw, dz=-0.035 * jaw),
    "teeth_show": field(
      s, dy=0.035 * upper - 0.035 * below * np.exp(-0.5 * (x / 0.15) ** 4) * bump(y, -0.645, 0.05) * front
    ),
    "pucker": field(
      s,
      dx=-0.30 * x * bump(y, -0.61, 0.09) * np.exp(-0.5 * (x / 0.25) ** 4) * front,
      dz=0.055 * bump(x, 0, 0.13) * bump(y, -0.61, 0.08) * front,
    ),
    "brow_up": field(s, dy=0.055 * brow * bump(ax, 0.28, 0.22)),
    "brow_down": field(
      s,
      dy=-0.035 * brow * bump(ax, 0.17, 0.14),
      dx=-0.02 * sx * brow * bump(ax, 0.15, 0.09),
      dz=0.02 * brow * bump(ax, 0.14, 0.12),
    ),
    "cheek_puff": field(
      s,
      dx=0.05 * sx * bump(ax, 0.40, 0.14) * bump(y, -0.55, 0.13) * front,
      dz=0.06 * bump(ax, 0.32, 0.13) * bump(y, -0.55, 0.13) * front,
    ),
    "squint": field(s, dy=0.02 * bump(ax, 0.3, 0.14) * bump(y, -0.09, 0.05) * front),
  }


def hair_modes(p, normal):
  """{name: displacement [..., 3]}: hair as thickness of the scalp, at full strength 1."""
  x, y, z = np.moveaxis(p, -1, 0)
  ax = np.abs(x)
  around = np.degrees(np.arctan2(ax, z))
  line = hairline(around)
  cap = step(y - line, -0.02, 0.16) * step(y, -0.45, -0.15)
  side = step(around, 65, 75) * step(0.5 - y, 0, 0.4)
  top = step(y, 0.55, 0.95) * cap
  fringe = step(y, 0.20, 0.34) * step(0.9 - ax, 0, 0.4) * step(z, 0.0, 0.3)
  out = normal * np.array([1.0, 0.6, 1.0])
  curtain = np.interp(
    y, [-1.7, -1.0, -0.5, 0.0, 0.5], [0.72, 0.76, 0.79, 0.775, 0.70]
  )  # long hair hangs here, over the ears
  curtain = np.stack(
    [
      np.sign(x) * np.maximum(curtain - 0.10 * step(around, 95, 130), 0) - x,
      0 * y,
      0.05 * step(-y, 0.2, 0.8),
    ],
    -1,
  )
  return {
    "hair_cap": 0.07 * cap[..., None] * out,
    "hair_top": 0.13 * top[..., None] * out,
    "hair_long": side[..., None] * curtain,
    "hair_wide": field(
      x.shape, dx=0.07 * np.sign(x) * side * step(-y, -0.3, 0.6), dz=0.03 * side * step(-y, 0.0, 0.6)
    ),
    "hair_fringe": 0.05 * fringe[..., None] * out,
  }


def hairline(around):
  """Height y of the hairline at an angle around the head (degrees from the front)."""
  return np.interp(around, *HAIRLINE)


def make_head() -> ShapeModel:
  """The embedded head's shape model: (83 x 72 grid) 5,976 vertices, 11,644 faces."""
  grid = sculpt()
  normal = grid_normals(grid)
  parts = {**identity_modes(grid), **expression_modes(grid), **hair_modes(grid, normal)}
  assert tuple(parts) == IDENTITY + EXPRESSION + HAIR
  points = grid.reshape(-1, 3)
  index = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
  a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
  right = (np.arange(COLUMNS - 1) >= COLUMNS // 2)[
    None, :, None
  ]  # mirrored diagonals: the faces are symmetric too
  first = np.where(
    right, np.stack([a, c, b], -1), np.stack([a, d, b], -1)
  )  # wound so that (b - a) x (c - a) points into the head
  second = np.where(right, np.stack([b, c, d], -1), np.stack([a, c, d], -1))
  faces = np.concatenate([first.reshape(-1, 3), second.reshape(-1, 3)]).astype(np.int32)
  flip = np.array([UNIT, -UNIT, -UNIT])
  modes = np.stack([m.reshape(-1, 3) * flip for m in parts.values()]).astype(np.float32)
  return ShapeModel(
    to_canonical(points).astype(np.float32),
    faces,
    modes,
    tuple(parts),
    points.astype(np.float32),
    incident_faces(faces, len(points)),
  )
