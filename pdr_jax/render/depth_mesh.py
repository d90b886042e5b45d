"""The mesh of a depth map's pixel grid, and its normals."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from pdr_jax.render import safe_ops
from pdr_jax.render.camera import Camera, pixel_grid


def grid_faces(height: int, width: int) -> Int[np.ndarray, "F 3"]:
  """Two triangles per cell of an H x W grid of vertices. int32 [2 (H-1) (W-1), 3].

  A vertex is `row * width + column`. The two triangles of a cell follow each other and share the diagonal
  from its upper right to its lower left; cells in reading order.
  """
  index = np.arange(height * width, dtype=np.int32).reshape(height, width)
  upper_left = index[:-1, :-1]
  upper_right = index[:-1, 1:]
  lower_left = index[1:, :-1]
  lower_right = index[1:, 1:]
  upper = np.stack([upper_left, upper_right, lower_left], axis=-1)
  lower = np.stack([lower_left, upper_right, lower_right], axis=-1)
  return np.stack([upper, lower], axis=2).reshape(-1, 3)


def normals(depth: Float[ArrayLike, "... H W"], camera: Camera) -> Float[Array, "... H W 3"]:
  """Unit normals `tu x tv` of a depth map; the outer ring is (0, 0, 1).

  They come from central differences of its back-projected points. They point into the scene (CONVENTIONS.md),
  in the frame of the depth map's camera. Depth in model units, positive. With s = sum and d = difference of
  the two neighbours' depths along each axis, the cross product of the tangents multiplies out to `(-f d_u
  s_v, -f d_v s_u, s_u s_v + (u - c_u) d_u s_v + (v - c_v) d_v s_u)`, without the cancellation of differencing
  points. A degenerate (zero) cross product gives the zero vector.
  """
  left = depth[..., 1:-1, :-2]
  right = depth[..., 1:-1, 2:]
  above = depth[..., :-2, 1:-1]
  below = depth[..., 2:, 1:-1]
  sum_u, sum_v, diff_u, diff_v = right + left, below + above, right - left, below - above
  u, v = pixel_grid(left)  # of the inner pixels, hence the shift by one below
  slope_u, slope_v = diff_u * sum_v, diff_v * sum_u
  x = -camera.focal * slope_u
  y = -camera.focal * slope_v
  z = sum_u * sum_v + (u + (1.0 - camera.centre_u)) * slope_u + (v + (1.0 - camera.centre_v)) * slope_v
  square = x * x + y * y + z * z
  usable = square > safe_ops.SMALLEST_SQUARE
  scale = jnp.where(usable, 1.0 / jnp.sqrt(jnp.where(usable, square, 1.0)), 0.0)
  ring = [(0, 0)] * (depth.ndim - 2) + [(1, 1), (1, 1)]
  parts = [
    jnp.pad(part * scale, ring, constant_values=value) for part, value in ((x, 0.0), (y, 0.0), (z, 1.0))
  ]
  return jnp.stack(parts, axis=-1)
