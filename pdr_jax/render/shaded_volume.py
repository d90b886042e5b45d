"""A volume as a lit surface: a picture for the eye, of where a density passes a level.

Light is Lambertian, from the left, above and before. Not meant for gradients.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.render import camera, volume

ELEVATION = 25.0  # degrees of the camera above the horizon
FINER = 2  # pixels for a voxel
SOFT = 0.15  # of densities around the level, over which the surface becomes opaque
AMBIENT, DIFFUSE = 0.3, 0.75
LIGHT = np.array([0.45, 0.65, 0.75]) / np.linalg.norm([0.45, 0.65, 0.75])  # where it travels: x, y, z
BACKGROUND = 1.0  # white


def shade(
  density: Float[ArrayLike, "B S S S"],
  azimuth: Float[ArrayLike, " B"],
  *,
  elevation: float = ELEVATION,
  level: float = 0.5,
) -> Float[Array, "B h h"]:
  """Brightness in [0, 1] of volumes turned about y by `azimuth`, on white; `h` is `FINER` times S.

  Args:
    density: axes z, y, x, see `render.volume`.
    azimuth: radians.
    elevation: degrees of the camera above the horizon.
    level: the surface is where the density passes it.
  """
  batch, side = density.shape[:2]
  zero = jnp.zeros_like(azimuth)
  about_y = camera.rotation_matrix(jnp.stack([zero, azimuth, zero], axis=-1))
  tilt = jnp.full_like(azimuth, math.radians(elevation))
  about_x = camera.rotation_matrix(jnp.stack([tilt, zero, zero], axis=-1))
  rotation = jnp.matmul(about_x, about_y, precision=jax.lax.Precision.HIGHEST)
  fine = jax.image.resize(jnp.asarray(density, jnp.float32), (batch, *[FINER * side] * 3), "linear")
  # One after the other: the indices of a rotation are eight times the volume.
  turned = jax.lax.map(lambda pair: _turned(*pair), (fine, rotation))
  opacity = jax.nn.sigmoid((turned - level) / (SOFT / 4))
  strength = -4.0 * jnp.log1p(-jnp.minimum(opacity, 0.999))
  image, seen = volume.emission_absorption(strength, _brightness(turned)[..., None])
  return jnp.clip(image[..., 0] + (1 - seen) * BACKGROUND, 0.0, 1.0)


def _turned(fine: Float[Array, "D H W"], rotation: Float[Array, "3 3"]) -> Float[Array, "D H W"]:
  return volume.rotate(fine[None, ..., None], rotation[None])[0, ..., 0]


def _brightness(density: Float[Array, "B D H W"]) -> Float[Array, "B D H W"]:
  """Lambert's cosine at every voxel: the gradient of the density points into the surface."""
  smooth = density
  for axis in (1, 2, 3):
    smooth = (jnp.roll(smooth, 1, axis) + 2 * smooth + jnp.roll(smooth, -1, axis)) / 4
  inward = [jnp.roll(smooth, -1, axis) - jnp.roll(smooth, 1, axis) for axis in (3, 2, 1)]  # x, y, z
  square = sum(part * part for part in inward)
  known = square > 1e-10
  length = jnp.sqrt(jnp.where(known, square, 1.0))
  cosine = sum(part * float(light) for part, light in zip(inward, LIGHT, strict=True)) / length
  return AMBIENT + DIFFUSE * jnp.where(known, jnp.maximum(cosine, 0.0), 0.5)
