"""The embedded world `embedded_cars`: parametric cars, seen from above in front.

Unsup3D's synthetic car set shows them from there too. A car is seen many times, under other lights, from
other viewpoints, before other backgrounds. Splits: `train`, `validation` and `test` share no car;
`test_light` and `test_view` show the cars of `test` under light or from a viewpoint outside the training
range, by `light_outside` and `view_outside` degrees. Light: the main source's angle to the zenith; view: the
turn about the car's vertical axis.
"""

import functools

import numpy as np
import tensorflow_datasets as tfds
from scipy.spatial.transform import Rotation

from pdr_jax.data.scenes import builder, car_mesh, car_paint, conditions, head_mesh, sample

VERSION = "1.0.0"  # raise it whenever a drawn or rendered pixel changes: prepared copies are found by it
CARS = {"train": range(238), "validation": range(238, 280), "test": range(280, 364)}
CARS |= {"test_light": CARS["test"], "test_view": CARS["test"]}
COLOURS = {
  "white": (0.88, 0.88, 0.86),
  "silver": (0.52, 0.53, 0.55),
  "black": (0.06, 0.06, 0.07),
  "red": (0.62, 0.06, 0.06),
  "blue": (0.08, 0.18, 0.52),
  "green": (0.08, 0.34, 0.16),
  "yellow": (0.86, 0.66, 0.08),
  "brown": (0.34, 0.20, 0.11),
}
ZENITH_LIMIT, YAW_LIMIT = 45.0, 40.0  # degrees, the training ranges
ELEVATIONS = (22.0, 48.0)             # degrees: how far above the ground's plane the camera is
GLASS_END = {"van": 4.40, "pickup": 4.90}  # station where the side windows end; others:
LAST_GLASS = 5.30


@functools.cache
def shape_model() -> head_mesh.ShapeModel:
  """The parametric cars' shape model."""
  return car_mesh.make_cars()


def view_of(yaw: float, elevation: float, shift: np.ndarray) -> np.ndarray:
  """[6] float32 view (CONVENTIONS.md) from an elevation, radians, of a car that is turned by yaw, radians,
  about its own vertical axis.

  `Rz Ry Rx = Rx(elevation) Ry(yaw) Rx(-ELEVATION)`, and the angles of that (Slabaugh 1999, "Computing Euler
  angles ...").
  """
  c, s = np.cos(yaw), np.sin(yaw)
  r = (
    _about_x(elevation)
    @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    @ _about_x(-np.deg2rad(car_mesh.ELEVATION))
  )
  angles = np.arctan2(r[2, 1], r[2, 2]), -np.arcsin(r[2, 0]), np.arctan2(r[1, 0], r[0, 0])
  return np.array([*angles, *shift, 0.0], np.float32)


def _about_x(angle: float) -> np.ndarray:
  c, s = np.cos(angle), np.sin(angle)
  return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def turned(view: np.ndarray, azimuth: float) -> np.ndarray:
  """[6] float32: the view of `view_of` of another yaw, from the same elevation."""
  return view_of(azimuth, yaw_and_elevation(view)[1], view[3:5])


def yaw_and_elevation(view: np.ndarray) -> tuple[float, float]:
  """Those of `view_of`, radians; the yaw from -pi to pi."""
  rotation = Rotation.from_euler("xyz", view[:3].astype(np.float64)).as_matrix()
  upright = rotation @ _about_x(np.deg2rad(car_mesh.ELEVATION))  # Rx(elevation) Ry(yaw)
  yaw, elevation = np.arctan2(upright[0, 2], upright[0, 0]), np.arctan2(upright[2, 1], upright[1, 1])
  return float(yaw), float(elevation)


def draw_conditions(rng, outside: dict, yaw_limit: float = YAW_LIMIT) -> dict:
  """Light, view and background of one image; the car is turned by up to `yaw_limit` degrees."""
  down = np.array([0.0, np.cos(np.deg2rad(car_mesh.ELEVATION)), np.sin(np.deg2rad(car_mesh.ELEVATION))])
  yaw = conditions.draw_yaw(rng, yaw_limit, float(outside["view_outside"]))
  elevation = np.deg2rad(rng.uniform(*ELEVATIONS))
  view = view_of(yaw, elevation, np.clip(rng.normal(0, 0.003, 2), -0.006, 0.006))
  return {**conditions.draw_light(rng, down, ZENITH_LIMIT, float(outside["light_outside"])), "view": view,
          "background": sample.draw_background(rng)}


@functools.lru_cache(maxsize=len(CARS["train"]))
def _car(seed: int, car: int) -> tuple[dict, dict, dict]:
  """What stays: weights of the modes, appearance, labels."""
  rng = np.random.default_rng([seed, len(sample.SPLITS), car])  # beyond the streams of the splits
  kind, other = car % len(car_mesh.TYPES), rng.integers(len(car_mesh.TYPES))
  mixture = rng.uniform(0, 0.18)
  weights = dict.fromkeys(car_mesh.TYPES, 0.0)
  weights[car_mesh.TYPES[kind]] += 1 - mixture
  weights[car_mesh.TYPES[other]] += mixture
  weights |= {name: float(np.clip(rng.normal(), -2, 2)) for name in car_mesh.FORMS}
  colour = int(rng.integers(len(COLOURS)))
  paint = np.clip(
    np.array(list(COLOURS.values())[colour]) * rng.uniform(0.85, 1.1) * (1 + 0.06 * rng.normal(size=3)),
    0.03,
    0.93,
  )
  two_tone, tinted, alloy = rng.random(3) < (0.25, 0.5, 0.6)
  second = np.full(
    3, rng.choice([0.05, 0.85]) if 0.2 < paint.mean() < 0.7 else (0.05 if paint.mean() > 0.5 else 0.8)
  )
  name = car_mesh.TYPES[kind]
  look = {
    "body": paint,
    "roof": second if two_tone else paint,
    "glass": rng.uniform(0.03, 0.06) if tinted else rng.uniform(0.20, 0.30),
    "glass_end": GLASS_END.get(name, LAST_GLASS),
    "grille": rng.uniform(0.9, 1.6),
    "lamp": rng.uniform(0.75, 0.95),
    "rim": rng.uniform(0.45, 0.7) if alloy else rng.uniform(0.12, 0.2),
    "spoke": rng.uniform(0.35, 0.6),
  }
  labels = {
    "identity": car,
    "body": kind,
    "colour": colour,
    "two_tone": int(two_tone),
    "tinted": int(tinted),
    "alloy": int(alloy),
  }
  return weights, {key: np.asarray(value, np.float32) for key, value in look.items()}, labels


def draw(seed: int, split: str, index: int, yaw_limit: float = YAW_LIMIT) -> tuple[dict, dict]:
  """(scene, labels) of one image, of a car that is turned by up to `yaw_limit` degrees.

  The scene's arrays are for `render_scene.render`; the labels are those of `EmbeddedCars.LABELS` and FACTORS.
  """
  rng = sample.generator(seed, split, index)
  weights, look, labels = _car(seed, CARS[split][index % len(CARS[split])])
  outside = conditions.beyond(rng, split)
  scene = {
    "weights": np.array([weights[name] for name in shape_model().names], np.float32),
    "look": look,
    **draw_conditions(rng, outside, yaw_limit),
  }
  return scene, labels | outside


class EmbeddedCars(builder.SceneBuilder):
  """Cars with body types, colours and parts, and exact depth, normals, albedo and light."""

  VERSION = tfds.core.Version(VERSION)
  SPLITS = sample.SPLITS
  LABELS = ("identity", "body", "colour", "two_tone", "tinted", "alloy")
  FACTORS = ("light_outside", "view_outside")
  CLASSES = {"body": car_mesh.TYPES, "colour": tuple(COLOURS)}  # noqa: RUF012
  PARTS = car_paint.PARTS
  YAW_LIMIT = YAW_LIMIT
  painter = staticmethod(car_paint.paint_car)
  turned = staticmethod(turned)

  def world(self):
    return shape_model(), functools.partial(draw, self.builder_config.scene_seed)
