"""Pinhole camera, rotations and views: frames, signs and units are those of CONVENTIONS.md.

Everything is written out per component instead of as matrix products: it fuses into one loop on every
backend, and stays in full float32 on TPUs, whose matrix unit rounds to bfloat16 by default.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.render import safe_ops

PIVOT_DEPTH = 1.0  # the view turns the object about the canonical point (0, 0, PIVOT_DEPTH)
SMALLEST_DEPTH = 1e-6  # points nearer to the camera's plane than this, or behind it, have no picture


class Camera(NamedTuple):
  """A pinhole camera with square pixels.

  Focal length and principal point are in pixels; pixel centres are at integers.
  """

  focal: float
  centre_u: float
  centre_v: float


def pinhole(side: int, fov_degrees: float = 10.0) -> Camera:
  """The camera of a square picture of `side` pixels.

  The field of view is measured between the centres of the outermost pixels.
  """
  centre = (side - 1) / 2
  return Camera(centre / math.tan(math.radians(fov_degrees) / 2), centre, centre)


def project(points: Float[ArrayLike, "... 3"], camera: Camera) -> Float[Array, "... 3"]:
  """Camera-frame points (model units) to screen space (u, v, z): pixels, pixels, depth in model units.

  Points with z <= 1e-6 have no picture: their z is kept (the rasterizer culls by it), and (u, v) are computed
  as if z were 1, so that values and gradients stay finite.
  """
  return jnp.stack(project_components(points[..., 0], points[..., 1], points[..., 2], camera), axis=-1)


def back_project(depth: Float[ArrayLike, "... H W"], camera: Camera) -> Float[Array, "... H W 3"]:
  """The camera-frame point (model units) of every pixel's centre at its depth (z coordinate, model units)."""
  return jnp.stack(back_project_components(depth, camera), axis=-1)


def rotation_matrix(angles: Float[ArrayLike, "... 3"]) -> Float[Array, "... 3 3"]:
  """`Rz Ry Rx` of the angles (rx, ry, rz) in radians.

  Each is a right-handed rotation about its axis, `p' = R p` for column vectors.
  """
  rows = _rotation_rows(angles[..., 0], angles[..., 1], angles[..., 2])
  return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def axis_angle_matrix(
  axis: Float[ArrayLike, "... 3"], angle: Float[ArrayLike, "..."]
) -> Float[Array, "... 3 3"]:
  """Right-handed rotation by `angle` (radians) about `axis`, by Rodrigues' formula.

  The axis may have any length but zero.
  """
  axis = safe_ops.normalize(axis)
  x, y, z = axis[..., 0], axis[..., 1], axis[..., 2]
  c, s = jnp.cos(angle), jnp.sin(angle)
  d = 1.0 - c
  rows = (
      (c + d * x * x, d * x * y - s * z, d * x * z + s * y),
      (d * x * y + s * z, c + d * y * y, d * y * z - s * x),
      (d * x * z - s * y, d * y * z + s * x, c + d * z * z),
  )
  return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def apply_view(
  points: Float[ArrayLike, "... N 3"], view: Float[ArrayLike, "... 6"]
) -> Float[Array, "... N 3"]:
  """Canonical points to the camera frame: `R (p - c) + c + t`, c = (0, 0, 1).

  View: (rx, ry, rz) radians, (tx, ty, tz) model units.
  """
  moved = apply_view_components(points[..., 0], points[..., 1], points[..., 2], view[..., None, :])
  return jnp.stack(moved, axis=-1)


def undo_view(
  points: Float[ArrayLike, "... N 3"], view: Float[ArrayLike, "... 6"]
) -> Float[Array, "... N 3"]:
  """Camera-frame points to the canonical frame: the inverse of `apply_view`, `R^T (p - c - t) + c`."""
  moved = undo_view_components(points[..., 0], points[..., 1], points[..., 2], view[..., None, :])
  return jnp.stack(moved, axis=-1)


# The same per component: arrays without the axis of three, which XLA fuses and lays out well. Views broadcast
# against the components.


def project_components(
    x: Float[ArrayLike, "..."], y: Float[ArrayLike, "..."], z: Float[ArrayLike, "..."], camera: Camera
) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
  """`project`, per component."""
  in_front = z > SMALLEST_DEPTH
  scale = camera.focal / jnp.where(in_front, z, 1.0)
  return scale * x + camera.centre_u, scale * y + camera.centre_v, z


def back_project_components(
  depth: Float[ArrayLike, "... H W"], camera: Camera
) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
  """`back_project`, per component."""
  u, v = pixel_grid(depth)
  return (u - camera.centre_u) / camera.focal * depth, (v - camera.centre_v) / camera.focal * depth, depth


def pixel_grid(image: Float[ArrayLike, "... H W"]) -> tuple[Array, Array]:
  """Column u and row v of every pixel, with the shape and dtype of `image`.

  They are iotas, which XLA makes inside the loop that uses them.
  """
  return tuple(jax.lax.broadcasted_iota(image.dtype, image.shape, image.ndim - back) for back in (1, 2))


def apply_view_components(
    x: Float[ArrayLike, "..."],
    y: Float[ArrayLike, "..."],
    z: Float[ArrayLike, "..."],
    view: Float[ArrayLike, "... 6"],
) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
  """`apply_view`, per component; `view` without its last axis broadcasts against x, y, z (same rank)."""
  rows = _rotation_rows(view[..., 0], view[..., 1], view[..., 2])
  depth = z - PIVOT_DEPTH
  x, y, z = (row[0] * x + row[1] * y + row[2] * depth + view[..., 3 + axis] for axis, row in enumerate(rows))
  return x, y, z + PIVOT_DEPTH


def undo_view_components(
  x: Float[ArrayLike, "..."],
  y: Float[ArrayLike, "..."],
  z: Float[ArrayLike, "..."],
  view: Float[ArrayLike, "... 6"],
) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
  """`undo_view`, per component."""
  rows = _rotation_rows(view[..., 0], view[..., 1], view[..., 2])
  x, y, z = x - view[..., 3], y - view[..., 4], (z - PIVOT_DEPTH) - view[..., 5]
  x, y, z = (rows[0][axis] * x + rows[1][axis] * y + rows[2][axis] * z for axis in range(3))
  return x, y, z + PIVOT_DEPTH


def _rotation_rows(
  rx: Float[ArrayLike, "..."], ry: Float[ArrayLike, "..."], rz: Float[ArrayLike, "..."]
) -> tuple[tuple[ArrayLike, ...], ...]:
  """The nine entries of Rz Ry Rx, multiplied out."""
  sx, cx, sy, cy, sz, cz = jnp.sin(rx), jnp.cos(rx), jnp.sin(ry), jnp.cos(ry), jnp.sin(rz), jnp.cos(rz)
  return (
      (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
      (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
      (-sy, cy * sx, cy * cx),
  )
