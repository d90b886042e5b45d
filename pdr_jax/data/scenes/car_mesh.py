"""The shape of `embedded_cars`: a body lofted over stations from bumper to bumper, four wheels in dark
arches, two mirrors; seven types.

Car frame (of the car files only): x to the picture's right, y up from the ground, z towards the car's front,
metres, origin below its middle. In the canonical frame the camera looks at the front from ELEVATION above.
All types share one topology, so that a type is a mode of a linear model, and a car may lie between two of
them. Everything is symmetric under x -> -x.

The body is painted by its stations s and the places q along their contours (`car_paint.py`): s is 0 and 9
below the bumpers, 2 the hood's front edge, 3 the cowl, 4 and 5 the roof's ends, 6 the foot of the rear
window, 8 the tail's upper edge; |q| is 0 in the middle, 2 at the roof's rail, 3 below the side windows, 4 at
the belt line and 8 at the sill.
"""

from typing import NamedTuple

import numpy as np

from pdr_jax.data.scenes.head_mesh import ShapeModel, incident_faces
from pdr_jax.data.scenes.people_mesh import inward, sheet

ELEVATION = 35.0                     # degrees
LENGTH = 4.6  # metres: a car of this length fills a 10 degree picture at distance 1
UNIT = 0.175 / LENGTH  # model units in a metre
BODY, WHEEL, ARCH = range(3)         # materials; mirrors are BODY
ROWS = (3, 5, 9, 10, 9, 7, 6, 3, 4)  # of the grid between stations
COLUMNS = (4, 4, 4, 6, 2, 2, 2, 3)   # between the places of a contour, from the middle down


class Design(NamedTuple):
  """What a type of car is, in metres: each corner of the side view as (distance from the front, height), from
  the hood to the tail.
  """

  length: float
  width: float
  clearance: float
  hood: float                  # height of its front edge
  cowl: tuple[float, float]
  screen: tuple[float, float]  # upper edge of the windscreen
  roof: tuple[float, float]    # rear end of the roof
  deck: tuple[float, float]    # foot of the rear window
  end: tuple[float, float]     # rear end of the deck, or of the bed
  tail: float                  # height of the tail
  belt: float                  # height of the belt line at the rear
  axles: tuple[float, float]   # distances from the front
  wheel: float                 # radius
  bed: float = 0.72            # half width of the deck's flat part


DESIGNS = {
    "sedan": Design(4.7, 1.82, 0.18, 0.70, (1.25, 0.96), (2.05, 1.44),
                    (3.25, 1.41), (4.00, 1.08), (4.50, 1.04), 0.98, 1.00, (0.92, 3.68), 0.33),
    "hatchback": Design(4.0, 1.75, 0.18, 0.74, (1.05, 0.98), (1.72, 1.48),
                        (3.30, 1.44), (3.84, 1.02), (3.90, 0.98), 0.94, 1.02, (0.80, 3.30), 0.32),
    "wagon": Design(4.75, 1.82, 0.18, 0.70, (1.25, 0.96), (2.00, 1.46),
                    (4.05, 1.44), (4.58, 1.04), (4.64, 1.00), 0.96, 1.02, (0.92, 3.70), 0.33),
    "coupe": Design(4.4, 1.90, 0.13, 0.60, (1.45, 0.86), (2.25, 1.24),
                    (2.85, 1.22), (3.95, 0.92), (4.25, 0.90), 0.86, 0.92, (0.90, 3.50), 0.34),
    "suv": Design(4.6, 1.92, 0.28, 0.94, (1.20, 1.17), (1.85, 1.74),
                  (4.00, 1.72), (4.42, 1.20), (4.48, 1.16), 1.10, 1.20, (0.90, 3.65), 0.39),
    "pickup": Design(5.3, 1.95, 0.30, 0.96, (1.40, 1.16), (2.00, 1.80),
                     (3.00, 1.78), (3.20, 0.72), (5.10, 0.72), 1.12, 1.16, (0.98, 4.20), 0.40, 0.87),
    "van": Design(4.9, 1.95, 0.22, 0.92, (0.75, 1.18), (1.45, 1.98),
                  (4.62, 1.98), (4.80, 1.16), (4.84, 1.10), 1.04, 1.16, (0.85, 3.90), 0.34),
}
TYPES = tuple(DESIGNS)
FORMS = ("length", "width", "height")  # further modes, at one standard deviation


def _stations() -> np.ndarray:
  return np.concatenate([k + np.arange(n) / n for k, n in enumerate(ROWS)] + [[len(ROWS)]])


def _places() -> np.ndarray:
  """q from the middle to the sill."""
  return np.concatenate([k + np.arange(n) / n for k, n in enumerate(COLUMNS)] + [[len(COLUMNS)]])


def _along(values) -> np.ndarray:
  """A quantity at the rows of the grid: straight from station to station, corners rounded."""
  fine = np.linspace(-0.5, len(ROWS) + 0.5, 1001)
  kernel = np.exp(-0.5 * (np.linspace(-0.25, 0.25, 51) / 0.07) ** 2)
  straight = np.interp(fine, np.arange(len(ROWS) + 1), values)
  rounded = np.convolve(np.pad(straight, 25, mode="edge"), kernel / kernel.sum(), mode="valid")
  return np.interp(_stations(), fine, rounded)


def _profile(d: Design) -> tuple[np.ndarray, ...]:
  """Rows' distance from the front, height of the middle and of the belt line, half width, and share of it
  that the roof or deck is wide.
  """
  at = (
    0.10,
    0.0,
    0.12,
    d.cowl[0],
    d.screen[0],
    d.roof[0],
    d.deck[0],
    d.end[0],
    d.length - 0.06,
    d.length - 0.12,
  )
  top = (
    d.clearance,
    d.clearance + 0.30,
    d.hood,
    d.cowl[1],
    d.screen[1],
    d.roof[1],
    d.deck[1],
    d.end[1],
    d.tail,
    d.clearance + 0.05,
  )
  side = (
    d.clearance,
    d.clearance + 0.27,
    d.hood - 0.07,
    d.cowl[1] - 0.04,
    d.cowl[1],
    d.belt,
    d.belt,
    d.belt - 0.02,
    d.tail - 0.04,
    d.clearance + 0.02,
  )
  half = np.array([0.86, 0.90, 0.93, 1.0, 1.0, 1.0, 0.99, 0.96, 0.94, 0.92]) * d.width / 2
  flat = (0.72, 0.72, 0.72, 0.74, 0.73, 0.73, d.bed, d.bed, 0.72, 0.72)
  return tuple(_along(values) for values in (at, top, side, half, flat))


def body(d: Design) -> np.ndarray:
  """Points [rows, columns, 3] of the body, metres."""
  at, top, belt, half, flat = (values[:, None] for values in _profile(d))
  top = np.where(top > belt, np.maximum(top, belt + 0.02), top)
  sill, ones = np.minimum(d.clearance, belt - 0.01), np.ones_like(at)
  # From the middle to the sill: how far out, in half widths, and how high.
  out = np.concatenate(
    [0 * ones, 0.80 * flat, flat, 0.905 * ones, 0.945 * ones, 0.985 * ones, ones, 0.99 * ones, 0.93 * ones], 1
  )
  high = np.concatenate([top, top - 0.012, belt + 0.86 * (top - belt), belt + 0.015, belt, belt - 0.06,
                         sill + 0.55 * (belt - sill), sill + 0.25 * (belt - sill), sill], 1)
  q = _places()
  knots = np.arange(len(COLUMNS) + 1)
  x = np.stack([np.interp(q, knots, row) for row in out]) * half
  y = np.stack([np.interp(q, knots, row) for row in high])
  s = _stations()[:, None]
  corner = np.clip(x / half, 0, 1) ** 3
  # Bumpers are round in plan.
  z = at + 0.28 * corner * np.clip(2.6 - s, 0, 1) - 0.16 * corner * np.clip(s - 7.4, 0, 1)
  points = np.stack([x, y, d.length / 2 - z], -1)
  return np.concatenate([points[:, :0:-1] * [-1, 1, 1], points], axis=1)


def _turned(rings: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
  """A body of revolution about x: rings [N, 2] of (radius, x) -> points and, for its paint, (radius cos,
  radius sin, x) of each.
  """
  turn = np.linspace(0, 2 * np.pi, columns, endpoint=False)
  radius, x = rings[:, :1], rings[:, 1:]
  circle = np.stack([radius * np.cos(turn), radius * np.sin(turn)], -1)
  return (np.stack([x + 0 * turn, circle[..., 0], circle[..., 1]], -1).reshape(-1, 3),
          np.concatenate([circle, np.broadcast_to(x[..., None], (*circle.shape[:2], 1))], -1).reshape(-1, 3))


def _width_at(d: Design, place: float) -> float:
  at, _, _, half, _ = _profile(d)
  return float(np.interp(place, at[4:-4], half[4:-4]))


def parts(d: Design) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, int, np.ndarray]]:
  """Body, wheels, arches, mirrors: (points in metres, faces, coordinates for the paint, material, centre that
  forms move it by) each.
  """
  points = body(d)
  rows, columns = points.shape[:2]
  q = np.concatenate([-_places()[:0:-1], _places()])
  coords = np.stack(np.broadcast_arrays(_stations()[:, None], q[None], 0.0), -1)
  points, coords = points.reshape(-1, 3), coords.reshape(-1, 3)
  result = [(points, inward(points, sheet(rows, columns, False, False)), coords, BODY, points)]
  for axle in d.axles:
    outside, height, z = _width_at(d, axle), d.wheel, d.length / 2 - axle
    rings = np.array(
      [
        [1.0, -0.24],
        [1.0, -0.03],
        [0.93, 0.0],
        [0.70, 0.0],
        [0.66, -0.02],
        [0.62, -0.035],
        [0.25, -0.025],
        [0.0, -0.02],
      ]
    )
    wheel, paint = _turned(rings * [d.wheel, 1], 20)
    wheel = wheel + [outside + 0.012, height, z]
    turn = np.deg2rad(np.linspace(-28, 208, 25))
    arch = np.stack([0 * turn, 1.16 * d.wheel * np.sin(turn), 1.16 * d.wheel * np.cos(turn)], -1)
    arch = np.concatenate([arch, np.zeros((1, 3))]) + [outside + 0.006, height, z]
    fan = np.stack([np.arange(24), np.full(24, 25), np.arange(1, 25)], -1)
    for vertices, faces, coords, material in (
      (wheel, inward(wheel, sheet(len(rings), 20, False, True)), paint / d.wheel, WHEEL),
      (arch, fan[:, ::-1] if _points_right(arch, fan) else fan, np.zeros_like(arch), ARCH),
    ):
      centre = np.broadcast_to([outside, height, z], vertices.shape)
      result += [
        (vertices, faces, coords, material, centre),
        (vertices * [-1, 1, 1], faces[:, ::-1], coords, material, centre * [-1, 1, 1]),
      ]
  return result + _mirrors(d)


def _points_right(points: np.ndarray, faces: np.ndarray) -> bool:
  """Whether the faces' (b - a) x (c - a) leaves the car on its right side; they must point into it."""
  a, b, c = np.moveaxis(points[faces], 1, 0)
  return bool(np.cross(b - a, c - a)[:, 0].sum() > 0)


def _mirrors(d: Design) -> list:
  polar, turn = np.linspace(0, np.pi, 7)[:, None], np.linspace(0, 2 * np.pi, 10, endpoint=False)
  ball = np.stack(
    [np.sin(polar) * np.cos(turn), np.cos(polar) + 0 * turn, np.sin(polar) * np.sin(turn)], -1
  ).reshape(-1, 3)
  centre = np.array(
    [_width_at(d, d.cowl[0] + 0.35) * 0.93 + 0.08, d.cowl[1] + 0.10, d.length / 2 - d.cowl[0] - 0.38]
  )
  points = ball * [0.13, 0.085, 0.075] + centre
  faces = inward(points, sheet(7, 10, False, True))
  where = np.broadcast_to(centre, points.shape)
  coords = np.broadcast_to([2.5, 5.0, 0.0], points.shape)  # painted as a fender
  return [
    (points, faces, coords, BODY, where),
    (points * [-1, 1, 1], faces[:, ::-1], coords, BODY, where * [-1, 1, 1]),
  ]


def to_canonical(points: np.ndarray) -> np.ndarray:
  """Car frame to canonical frame.

  The middle of a car of usual height is at (0, 0, 1), seen from ELEVATION above.
  """
  x, y, z = np.moveaxis((points - [0, 0.62, 0]) * [UNIT, -UNIT, -UNIT], -1, 0)
  c, s = np.cos(np.deg2rad(ELEVATION)), np.sin(np.deg2rad(ELEVATION))
  return np.stack([x, c * y - s * z, s * y + c * z + 1.0], -1)


def make_cars() -> ShapeModel:
  """The shape model, with the modes TYPES and FORMS.

  Exactly one weight of 1 among TYPES makes a type; weights that add up to 1 make a mixture.
  """
  built = {name: parts(design) for name, design in DESIGNS.items()}
  # Half way to one length for all, as in sets that normalise sizes: a picture neither cuts vans off nor loses
  # small cars.
  size = {name: (LENGTH / design.length) ** 0.5 for name, design in DESIGNS.items()}
  shapes = {
    name: to_canonical(size[name] * np.concatenate([part[0] for part in built[name]])) for name in TYPES
  }
  first = built[TYPES[0]]
  starts = np.cumsum([0] + [len(part[0]) for part in first])
  faces = np.concatenate([part[1] + start for part, start in zip(first, starts[:-1], strict=True)]).astype(
    np.int32
  )
  material = np.concatenate([np.full(len(part[1]), part[3]) for part in first]).astype(np.int32)
  points, centre = (np.concatenate([part[k] for part in first]) for k in (0, 4))
  origin = to_canonical(np.zeros(3))

  def shift(displacement):
    return to_canonical(displacement) - origin

  upper = (
    np.maximum(points[:, 1:2] - 0.45, 0)
    * (np.repeat([part[3] for part in first], np.diff(starts)) == BODY)[:, None]
  )
  forms = (
    shift(0.035 * centre * [0, 0, 1]),
    shift(0.035 * centre * [1, 0, 0]),
    shift(0.05 * upper * [0, 1, 0]),
  )
  # Types add up: with weights that sum to 1 it does not matter where they start.
  base = np.array([0.0, 0.0, 1.0])
  modes = np.stack([shapes[name] - base for name in TYPES] + list(forms))
  return ShapeModel(
    np.broadcast_to(base, points.shape).astype(np.float32),
    faces,
    modes.astype(np.float32),
    TYPES + FORMS,
    np.concatenate([part[2] for part in first]).astype(np.float32),
    incident_faces(faces, len(points)),
    material,
  )
