"""What `voxels` shows of pictures: projection, volume from eight sides, and a traversal of its code."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.methods.voxels import projection
from pdr_jax.render import shaded_volume

LEVEL = 0.3  # of the densities, where the surface is shown: thin parts are seldom certain
AZIMUTHS = tuple(range(0, 360, 45))  # degrees beyond the picture's own
TRAVERSED = (-2, -1, 1, 2)  # deviations from the mean


def pictures(
  variables: dict, images: Float[ArrayLike, "B S S 1"], *, decompose: Callable, volumes: Callable
) -> dict[str, Float[Array, "B h w C"]]:
  """`reconstruction`, and lit surfaces: `turned_045` and so on, the volume from there on; `traversal_1` and
  so on, the volume where one number of its code is replaced, see `TRAVERSED`, from the picture's azimuth.

  Args:
    decompose: `(variables, images) -> parts`.
    volumes: `(variables, codes) -> logits` of densities.
  """
  parts = decompose(variables, images)
  columns = {"reconstruction": parts["reconstruction"]}
  turns = np.radians(np.array(AZIMUTHS, np.float32))
  for name, angle in zip(AZIMUTHS, turns, strict=True):
    columns[f"turned_{name:03d}"] = lit(parts["voxels"], parts["azimuth"] + angle)
  for i, step in enumerate(TRAVERSED, start=1):
    density = projection.density(volumes(variables, traversed(parts["shape"], step)))
    columns[f"traversal_{i}"] = lit(density, parts["azimuth"])
  return columns


def traversed(codes: Float[ArrayLike, "B D"], step: float) -> Float[Array, "B D"]:
  """Codes whose most different number is `step` deviations from its mean, the others as they are."""
  mean, deviation = jnp.mean(codes, axis=0), jnp.std(codes, axis=0)
  chosen = jnp.arange(codes.shape[1]) == jnp.argmax(deviation)
  return jnp.where(chosen, mean + step * deviation, codes)


def lit(density: Float[ArrayLike, "B S S S"], azimuth: Float[ArrayLike, " B"]) -> Float[Array, "B h h 1"]:
  """Volumes as lit surfaces, in [-1, 1], turned by `azimuth` (radians); see `render.shaded_volume`."""
  return 2 * shaded_volume.shade(density, azimuth, level=LEVEL)[..., None] - 1
