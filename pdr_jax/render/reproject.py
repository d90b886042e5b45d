"""From the canonical frame to the input view.

Depth comes from rasterizing the canonical depth's mesh, colours from warping back.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.render import camera as cameras
from pdr_jax.render.camera import Camera
from pdr_jax.render.depth_mesh import grid_faces
from pdr_jax.render.rasterize import rasterize
from pdr_jax.render.warp import sample_bilinear_components

# At the zero view every border pixel lies exactly on the mesh's border, and rounding may put the border on
# the wrong side of it: holes at the picture's edge. The outermost ring of vertices is therefore moved
# outwards by this many pixels. Rounding displaces a projected vertex by at most 6e-5 pixels at side 256 (four
# ulp of the coordinate, float32), so this is an order of magnitude more than is needed, while a border
# pixel's depth takes only a thousandth of its inner neighbour's.
BORDER_OVERLAP = 1e-3


def depth_at_view(
  depth: Float[ArrayLike, "... S S"],
  view: Float[ArrayLike, "... 6"],
  camera: Camera,
  *,
  near: float,
  far: float,
) -> Float[Array, "... S S"]:
  """Depth map of the canonical depth's surface as seen in `view`, clamped to [near, far].

  It is `far` where there is no surface. Model units, z coordinate in the camera frame of the view. The
  surface is the grid mesh of the back-projected depth; the nearest face counts. Differentiable in depth and
  view; no gradient where there is no surface and where the clamp holds. The mesh's outermost ring is widened
  by `BORDER_OVERLAP` pixels so that the zero view covers the whole picture. Leading axes of depth and view
  must be equal.
  """
  height, width = depth.shape[-2:]
  u, v = cameras.pixel_grid(depth)
  u = _widen(u, width)
  v = _widen(v, height)
  x, y = (u - camera.centre_u) / camera.focal * depth, (v - camera.centre_v) / camera.focal * depth
  moved = cameras.apply_view_components(x, y, depth, view[..., None, None, :])
  screen = jnp.stack(cameras.project_components(*moved, camera), axis=-1)
  vertices = screen.reshape(*depth.shape[:-2], height * width, 3)
  fragments = rasterize(
    vertices, grid_faces(height, width), height=height, width=width, faces_per_pixel=1, blur_radius=0.0
  )
  seen = jnp.where(fragments.face[..., 0] >= 0, fragments.depth[..., 0], far)
  return jnp.clip(seen, near, far)


def warp_to_view(
  image: Float[ArrayLike, "... S S C"],
  depth_at_view: Float[ArrayLike, "... S S"],
  view: Float[ArrayLike, "... 6"],
  camera: Camera,
) -> Float[Array, "... S S C"]:
  """The canonical image as seen in `view`.

  Each pixel's surface point goes back to the canonical frame, where the image is sampled. Zero where that is
  outside the canonical image. Background pixels, at the far depth, are sampled like all others: mask them.
  Differentiable in all three. Leading axes must be equal.
  """
  points = cameras.back_project_components(depth_at_view, camera)
  canonical = cameras.undo_view_components(*points, view[..., None, None, :])
  u, v, _ = cameras.project_components(*canonical, camera)
  return sample_bilinear_components(image, u, v)


def _widen(coordinate: Float[ArrayLike, "..."], size: int) -> Float[Array, "..."]:
  """Pixel coordinates with the first moved down and the last moved up by BORDER_OVERLAP."""
  return coordinate + BORDER_OVERLAP * (
    (coordinate == size - 1).astype(coordinate.dtype) - (coordinate == 0).astype(coordinate.dtype)
  )
