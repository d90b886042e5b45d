"""Smoothness of a depth map (specification, section 2, used for cars)."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float


def smoothness(depth: Float[ArrayLike, "B H W"], span: float) -> Float[Array, "B H W"]:
  """Map whose mean over pixels is (mean |ddepth/dy| + mean |ddepth/dx|) / span.

  `span` is max - min depth, in model units. Differences are forward and per pixel; the last row (column) has
  none, and the others are scaled up so that the mean of the map is the sum of the two means over existing
  differences.
  """
  _, height, width = depth.shape
  dy = jnp.pad(jnp.abs(depth[:, 1:] - depth[:, :-1]), ((0, 0), (0, 1), (0, 0))) * (height / (height - 1))
  dx = jnp.pad(jnp.abs(depth[:, :, 1:] - depth[:, :, :-1]), ((0, 0), (0, 0), (0, 1))) * (width / (width - 1))
  return (dy + dx) / span
