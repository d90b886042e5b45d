"""The embedded world `embedded_cars_around`: the cars of `embedded_cars`, seen from all sides.

The labels `azimuth` and `elevation` are the exact turn about the car's vertical axis, and how far the camera
is above the ground's plane, in degrees. `train`, `validation` and `test` share no car.
"""

import functools

import numpy as np
import tensorflow_datasets as tfds

from pdr_jax.data.scenes import cars

VERSION = "1.0.0"  # raise it whenever a drawn or rendered pixel changes: prepared copies are found by it
YAW_LIMIT = 180.0  # degrees


def draw(seed: int, split: str, index: int) -> tuple[dict, dict]:
  """(scene, labels) of one image."""
  scene, labels = cars.draw(seed, split, index, YAW_LIMIT)
  angles = np.rad2deg(cars.yaw_and_elevation(scene["view"])).astype(np.float32)
  factors = dict(zip(CarsAround.FACTORS, angles, strict=True))
  return scene, {name: labels[name] for name in cars.EmbeddedCars.LABELS} | factors


class CarsAround(cars.EmbeddedCars):
  """Cars from all sides, with exact azimuth, depth, normals, albedo and light."""

  VERSION = tfds.core.Version(VERSION)
  SPLITS = ("train", "validation", "test")
  FACTORS = ("azimuth", "elevation")
  YAW_LIMIT = YAW_LIMIT

  def world(self):
    return cars.shape_model(), functools.partial(draw, self.builder_config.scene_seed)
