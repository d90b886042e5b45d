"""What `voxels` shows of pictures: the projection, and the volume, shaded, from eight sides."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.render import shaded_volume

LEVEL = 0.3  # of the densities, where the surface is shown: thin parts are seldom certain
AZIMUTHS = tuple(range(0, 360, 45))  # degrees beyond the picture's own


def pictures(
  variables: dict, images: Float[ArrayLike, "B S S 1"], *, decompose: Callable
) -> dict[str, Float[Array, "B h w C"]]:
  """`reconstruction`, and `turned_045` and so on: the volume from there on, as a lit surface."""
  parts = decompose(variables, images)
  columns = {"reconstruction": parts["reconstruction"]}
  turns = np.radians(np.array(AZIMUTHS, np.float32))
  for name, angle in zip(AZIMUTHS, turns, strict=True):
    turned = parts["azimuth"] + angle
    shaded = shaded_volume.shade(parts["voxels"], turned, level=LEVEL)
    columns[f"turned_{name:03d}"] = 2 * shaded[..., None] - 1
  return columns
