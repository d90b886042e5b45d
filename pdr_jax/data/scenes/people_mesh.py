"""The shape of `people`: the embedded head, further expressions, and what it may wear: glasses, dark lenses,
a hat, each a mesh of its own.

Sculpting frame as in `head_mesh.py`. A thing that is not worn lies collapsed in one point inside the head:
putting it on is one more mode of the linear model, and so is every change of its form.
"""

import numpy as np

from pdr_jax.data.scenes import head_mesh
from pdr_jax.data.scenes.head_mesh import bump, field, step
from pdr_jax.data.scenes.paint import MOUTH_SINE

UNIT = 0.088  # smaller in the picture than `heads`: there must be room for hats
PIVOT = np.array([0.0, -0.09, 0.32])
INSIDE = np.array([0.0, 0.1, 0.1])  # where things are that are not worn
HEAD, FRAME, LENS, HAT = range(4)   # materials
EXPRESSION = ("brow_inner_up", "nose_wrinkle", "upper_lip_up", "lip_stretch", "lip_press")
WORN = ("glasses", "glasses_round", "lenses", "hat", "hat_tall", "hat_visor", "hat_brim")


def expression_modes(p: np.ndarray) -> dict[str, np.ndarray]:
  """{name of EXPRESSION: displacement [..., 3]} at full strength.

  They are action units 1, 9, 10, 20 and 24 of the Facial Action Coding System.
  """
  x, y, z = np.moveaxis(p, -1, 0)
  ax, sx, s = np.abs(x), np.sign(x), x.shape
  front = step(z, 0.1, 0.5)
  below = y < MOUTH_SINE * np.linalg.norm(p, axis=-1)
  brow, corner = bump(y, 0.19, 0.10) * front, bump(ax, 0.22, 0.09) * bump(y, -0.57, 0.10) * front
  beside_nose = bump(ax, 0.09, 0.08) * bump(y, -0.20, 0.13) * front
  upper = (1 - below) * np.exp(-0.5 * (x / 0.18) ** 4) * bump(y, -0.565, 0.05) * front
  lips = bump(x, 0, 0.2) * bump(y, -0.615, 0.06) * front
  modes = {
    "brow_inner_up": field(
      s, dy=0.065 * brow * bump(ax, 0.06, 0.11), dx=-0.012 * sx * brow * bump(ax, 0.12, 0.08)
    ),
    "nose_wrinkle": field(
      s, dy=0.035 * beside_nose - 0.02 * brow * bump(ax, 0.1, 0.1), dz=0.025 * beside_nose
    ),
    "upper_lip_up": field(s, dy=0.055 * upper, dz=0.015 * upper),
    "lip_stretch": field(s, dx=0.075 * sx * corner, dy=-0.02 * corner),
    "lip_press": field(s, dy=-0.45 * (y + 0.612) * lips, dz=-0.02 * lips),
  }
  assert tuple(modes) == EXPRESSION
  return modes


# ------------------------------------------------------------------------------------- things to wear
def _tube(
  path: np.ndarray, radii: tuple[float, float], closed: bool, side: np.ndarray, corners: int = 6
) -> tuple[np.ndarray, np.ndarray]:
  """Points and faces of a tube along a path [N, 3].

  The radii are across, in the direction nearest to `side`, and perpendicular to it.
  """
  ahead, behind = np.roll(path, -1, 0), np.roll(path, 1, 0)
  if not closed:
    ahead[-1], behind[0] = path[-1], path[0]
  along = (ahead - behind) / np.linalg.norm(ahead - behind, axis=-1, keepdims=True)
  other = np.cross(along, side)
  other /= np.linalg.norm(other, axis=-1, keepdims=True)
  across = np.cross(other, along)
  turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)[:, None]
  points = (
    path[:, None] + radii[0] * np.cos(turn) * across[:, None] + radii[1] * np.sin(turn) * other[:, None]
  )
  return points.reshape(-1, 3), sheet(len(path), corners, closed, True)


def sheet(rows: int, columns: int, rows_close: bool, columns_close: bool) -> np.ndarray:
  """Triangles [F, 3] of a grid of points, either direction of which may close upon itself."""
  index = np.arange(rows * columns).reshape(rows, columns)
  if rows_close:
    index = np.concatenate([index, index[:1]])
  if columns_close:
    index = np.concatenate([index, index[:, :1]], axis=1)
  a, b, c, d = (q.reshape(-1) for q in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
  return np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)])


def inward(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
  """Faces of a body wound so that (b - a) x (c - a) points into it."""
  a, b, c = np.moveaxis(points[faces] - points.mean(axis=0), 1, 0)
  return faces[:, ::-1] if (a * np.cross(b, c)).sum() > 0 else faces


def _both_sides(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """A body and its mirror image."""
  return np.concatenate([points, points * [-1, 1, 1]]), np.concatenate([faces, faces[:, ::-1] + len(points)])


def _rim(power: float, scale: float = 1.0, points: int = 28) -> np.ndarray:
  """The outline of the glass before an eye [N, 3], on the curved front of the frame: an ellipse at power 2,
  nearly a rectangle at 5.
  """
  turn = np.linspace(0, 2 * np.pi, points, endpoint=False)

  def bend(v):
    return np.sign(v) * np.abs(v) ** (2 / power)

  x, y = 0.290 + scale * 0.180 * bend(np.cos(turn)), -0.015 + scale * 0.140 * bend(np.sin(turn))
  return np.stack([x, y, 0.872 - 0.30 * x**2], -1)


def glasses() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
  """Frame: points [N, 3], faces, {mode: displacement}."""
  forward, up = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
  rims = [_tube(_rim(power), (0.022, 0.026), True, forward) for power in (3.5, 2.0)]
  temple = np.array(
    [
      [0.465, 0.03, 0.80],
      [0.52, 0.04, 0.76],
      [0.555, 0.05, 0.66],
      [0.585, 0.05, 0.50],
      [0.635, 0.05, 0.30],
      [0.675, 0.055, 0.10],
      [0.715, 0.05, -0.06],
    ]
  )
  arm = _tube(temple, (0.026, 0.018), False, up)
  t = np.linspace(-1, 1, 9)
  bridge = _tube(
    np.stack([0.12 * t, 0.055 - 0.03 * t**2, 0.893 - 0.022 * t**2], -1), (0.022, 0.022), False, up
  )
  points, faces = _join_parts(
    [
      _both_sides(rims[0][0], inward(*rims[0])),
      _both_sides(arm[0], inward(*arm)),
      (bridge[0], inward(*bridge)),
    ]
  )
  rounder = np.zeros_like(points)
  change, count = rims[1][0] - rims[0][0], len(rims[0][0])
  rounder[:count], rounder[count:2 * count] = change, change * [-1, 1, 1]
  return points, faces, {"glasses_round": rounder}


def lenses() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
  """Dark glass within the frame, flat as it is."""
  def disc(power):
    rim = _rim(power, 0.98)
    return np.concatenate([rim, rim.mean(axis=0, keepdims=True)]) - [0, 0, 0.004]
  points, n = disc(3.5), len(_rim(2.0))
  index = np.arange(n)
  faces = np.stack(
    [index, np.full(n, n), np.roll(index, -1)], -1
  )  # clockwise for who looks at the face: into it
  change = disc(2.0) - points
  points, faces = _both_sides(points, faces)
  return points, faces, {"glasses_round": np.concatenate([change, change * [-1, 1, 1]])}


def hat() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
  """A cap, closed below by its rim, which grows to a visor or to a brim.

  Further up the crown can be taller.
  """
  #          radius of the ring, its height, how much of a brim it has, how much of a tall crown
  rings = np.array(
    [
      [0.93, 0.02, 0, 0],
      [0.99, -0.005, 0, 0],
      [1.0, -0.010, 0.97, 0],
      [1.0, 0.0, 1, 0],
      [1.0, 0.012, 1, 0],
      [1.0, 0.024, 0.97, 0],
      [1.015, 0.035, 0, 0],
      [1.03, 0.06, 0, 0],
      [1.04, 0.13, 0, 0.1],
      [1.035, 0.135, 0, 0.1],
      [1.035, 0.22, 0, 0.35],
      [0.99, 0.34, 0, 0.7],
      [0.89, 0.45, 0, 0.95],
      [0.70, 0.54, 0, 1],
      [0.45, 0.59, 0, 1],
      [0.2, 0.612, 0, 1],
      [0.0, 0.615, 0, 1],
    ]
  )
  columns = 48
  around = np.linspace(0, 2 * np.pi, columns, endpoint=False)
  right, front = np.sin(around), np.cos(around)

  def place(ring, height):
    return np.stack(
      [0.735 * ring * right, height + 0.42 + 0.13 * ring * front, -0.03 + 0.925 * ring * front], -1
    )
  points = np.stack([place(ring, height) for ring, height, _, _ in rings])
  brim, tall = rings[:, 2, None], rings[:, 3, None]
  visor = np.clip((front - 0.25) / 0.75, 0, 1) ** 0.6
  outwards = np.stack([right + 0 * brim, 0 * right - 0.10 + 0 * brim, front + 0 * brim], -1)
  modes = {
      "hat_tall": np.stack([0 * tall * right, 0.22 * tall + 0 * right, 0 * tall * right], -1),
      "hat_visor": (brim * visor)[..., None] * (0.42 * outwards * [0.55, 0.8, 1.0]),
      "hat_brim": brim[..., None] * 0.34 * outwards,
  }
  points = points.reshape(-1, 3)
  faces = inward(points, sheet(len(rings), columns, False, True))
  return points, faces, {name: mode.reshape(-1, 3) for name, mode in modes.items()}


def _join_parts(parts: list) -> tuple[np.ndarray, np.ndarray]:
  starts = np.cumsum([0] + [len(points) for points, _ in parts])
  faces = [faces + start for (_, faces), start in zip(parts, starts[:-1], strict=True)]
  return np.concatenate([points for points, _ in parts]), np.concatenate(faces)


def _follow(points: np.ndarray, head: np.ndarray, modes: np.ndarray, reach: float) -> np.ndarray:
  """Modes [M, V, 3] of the head as they move the things on it.

  They are averaged over the head's points within reach of each.
  """
  weight = np.exp(-0.5 * ((points[:, None] - head[None]) ** 2).sum(-1) / reach**2) + 1e-12
  return np.einsum("nv,mvc->mnc", weight / weight.sum(axis=1, keepdims=True), modes)


def make_people() -> head_mesh.ShapeModel:
  """The shape model of `people`, with materials HEAD ... HAT.

  Its modes are identity, expressions and hair as the head's and EXPRESSION, then WORN.
  """
  head = head_mesh.make_head()
  to_sculpting = np.array([1, -1, -1]) / head_mesh.UNIT
  points = head.coords.astype(np.float64)
  modes = dict(zip(head.names, head.modes.astype(np.float64) * to_sculpting, strict=True))
  modes |= expression_modes(points)
  modes |= {name: np.zeros_like(points) for name in WORN}
  base, coords = [points], [points]
  faces, material = [head.faces], [np.full(len(head.faces), HEAD)]
  identity = np.stack([modes[name] for name in head_mesh.IDENTITY])
  start, head_points = len(points), points
  for kind, presence, make, reach in (
    (FRAME, "glasses", glasses, 0.12),
    (LENS, "lenses", lenses, 0.12),
    (HAT, "hat", hat, 0.20),
  ):
    points, own, changes = make()
    followed = dict(zip(head_mesh.IDENTITY, _follow(points, head_points, identity, reach), strict=True))
    for name, mode in modes.items():
      more = followed.get(name, changes.get(name, np.zeros_like(points)))
      modes[name] = np.concatenate([mode, points - INSIDE if name == presence else more])
    base.append(np.broadcast_to(INSIDE, points.shape))
    coords.append(points)
    faces.append(own + start)
    material.append(np.full(len(own), kind))
    start += len(points)
  faces = np.concatenate(faces).astype(np.int32)
  flip = np.array([UNIT, -UNIT, -UNIT])
  return head_mesh.ShapeModel(
    head_mesh.to_canonical(np.concatenate(base), UNIT, PIVOT).astype(np.float32),
    faces,
    np.stack([mode * flip for mode in modes.values()]).astype(np.float32),
    tuple(modes),
    np.concatenate(coords).astype(np.float32),
    head_mesh.incident_faces(faces, start),
    np.concatenate(material).astype(np.int32),
  )
