"""The camera of `voxels` and `prgan`: a volume turned about the vertical, and what its rays absorb.

A density is in (0, 1): `sigmoid(logit)`. What a voxel absorbs follows from it in one of two ways. `density`,
as released: the density itself (the released code's voxels are twice that, and its projection half of their
sum: the factor cancels). Even a full voxel then lets 37 % through. `occupancy`: the density is the chance
that the voxel is occupied, and nothing passes an occupied one. A ray then passes with the product of
`1 - density`: the absorption is `-log(1 - density) = softplus(logit)`.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.render import camera, volume


def density(logits: Float[ArrayLike, "B S S S"]) -> Float[Array, "B S S S"]:
  """Densities in (0, 1), zero outside of the inscribed cylinder."""
  return jax.nn.sigmoid(logits) * volume.cylinder_mask(*logits.shape[1:])[None]


def mirrored(logits: Float[ArrayLike, "B S S S"]) -> Float[Array, "B S S S"]:
  """The mean of logits and of their mirror image, left to right: a volume that is its own mirror image."""
  return (logits + logits[..., ::-1]) / 2


def absorption(logits: Float[ArrayLike, "B S S S"], kind: str) -> Float[Array, "B S S S"]:
  """What each voxel absorbs, `kind` being `density` or `occupancy`; zero outside of the cylinder."""
  if kind == "density":
    return density(logits)
  return jax.nn.softplus(logits) * volume.cylinder_mask(*logits.shape[1:])[None]


def project(
  absorbed: Float[ArrayLike, "B S S S"], azimuth: Float[ArrayLike, " B"], elevation: float = 0.0
) -> Float[Array, "B S S"]:
  """The silhouettes `1 - exp(-sum of what is absorbed)` of volumes that are turned, in [0, 1].

  Args:
    absorbed: by each voxel, in the canonical frame, axes z, y, x.
    azimuth: radians by which the volume turns about y, see `render.volume.rotate_about_axis`.
    elevation: degrees of the camera above the horizon.
  """
  return project_many(absorbed, azimuth[:, None], elevation)[:, 0]


def project_many(
  absorbed: Float[ArrayLike, "B S S S"], azimuth: Float[ArrayLike, "B K"], elevation: float = 0.0
) -> Float[Array, "B K S S"]:
  """The silhouettes of every volume from K azimuths."""
  if elevation:
    count = azimuth.shape[1]
    turned = turn(jnp.repeat(absorbed, count, axis=0), azimuth.reshape(-1), elevation)
    return volume.silhouette(turned).reshape(-1, count, *absorbed.shape[2:])
  return -jnp.expm1(-volume.ray_sums(absorbed, azimuth))


def turn(
  density: Float[ArrayLike, "B S S S"], azimuth: Float[ArrayLike, " B"], elevation: float = 0.0
) -> Float[Array, "B S S S"]:
  """The volumes in the camera's frame."""
  if elevation:
    rotation = rotation_of(azimuth, elevation)
    return volume.rotate(density[..., None], rotation)[..., 0]
  return volume.rotate_about_axis(density[..., None], azimuth)[..., 0]


def rotation_of(azimuth: Float[ArrayLike, " B"], elevation: float) -> Float[Array, "B 3 3"]:
  """First about y by the azimuth, then about x, which shows the top of things where `elevation` > 0."""
  zero = jnp.zeros_like(azimuth)
  about_y = camera.rotation_matrix(jnp.stack([zero, azimuth, zero], axis=-1))
  tilt = jnp.full_like(azimuth, math.radians(elevation))
  about_x = camera.rotation_matrix(jnp.stack([tilt, zero, zero], axis=-1))
  return jnp.matmul(about_x, about_y, precision=jax.lax.Precision.HIGHEST)
