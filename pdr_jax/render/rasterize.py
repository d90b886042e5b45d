"""Soft rasterizer: the K nearest faces of every pixel, exactly.

Their attributes are continuous, with gradients to the vertices. Three parts: `coverage` says which pixels a
face reaches, `select_faces` finds the nearest faces (not differentiated), and `fragments` recomputes depth,
barycentrics and distance of those faces from the vertices (differentiated). Shading and blending are
separate: `blend`. Follows the fragments of SoftRas (Liu et al. 2019, arXiv 1904.01786) and PyTorch3D, without
a capacity and with pixel centres at integers.
"""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from pdr_jax.render.fragments import Fragments, make_fragments
from pdr_jax.render.select_faces import select_faces


def rasterize(
  vertices: Float[ArrayLike, "... V 3"],
  faces: Int[ArrayLike, "F 3"],
  *,
  height: int,
  width: int,
  faces_per_pixel: int = 1,
  blur_radius: float = 0.0,
) -> Fragments:
  """Finds the `faces_per_pixel` nearest faces of every pixel.

  The result equals testing every face at every pixel, in float32.

  * A pixel belongs to a face when its centre is in the closed triangle (exactly on an edge or a vertex
    counts), whichever way the face winds. With `blur_radius > 0`, also when the triangle is at most that far
    away on the screen; depth and barycentrics are then those of its nearest point.
  * Faces are ordered by their depth at the pixel, nearest first; of exactly equal depths the lower face index
    comes first.
  * Culled: a face with a vertex at z <= 0, that is not finite, or beyond 1e9 pixels. Nothing is clipped at
    the near plane.
  * A face of zero area (twice its area at most 1e-12 squared pixels) is a segment or a point: without blur it
    covers nothing; with blur it is reached like any other face, at a positive distance.
  * Depths are clamped to [1e-5, 1e5]: choose units in which a scene lies well inside.

  Gradients reach the vertices through `depth`, `barycentric` and `signed_distance_sq`, to any order, forward
  and reverse; which faces a pixel has is constant (`stop_gradient`). Those of first order are finite for
  every mesh; those of higher order where the depths of a face differ by less than a factor of a thousand and
  its area is not minute. At a pixel where two edges are equally near, the gradient is the first one's. Works
  under `jit`, `vmap` and `grad` in any nesting; a mapped axis joins the batch, so `vmap` costs what leading
  axes cost. The work grows with the number of (face, pixel) pairs that meet, not with faces times pixels.

  Args:
    vertices: screen space `(u, v, z)`: u right and v down in pixels, pixel centres at integers, z the depth.
      Computed in float32.
    faces: vertex indices, 0 to V - 1.
    height, width: of the image, in pixels.
    faces_per_pixel: K, at least 1.
    blur_radius: pixels, a Python number, at least 0.

  Returns:
    `Fragments` with leading axes as `vertices`; entries without a face have `face == -1`.

  Raises:
    ValueError: `faces_per_pixel` below 1, negative `blur_radius`, or more than 2^31 (face, row) pairs
    possible in one image.
  """
  if faces_per_pixel < 1:
    raise ValueError(f"rasterize: faces_per_pixel must be at least 1, not {faces_per_pixel}")
  if not 0 <= blur_radius <= 1e9:
    raise ValueError(f"rasterize: blur_radius must be a number of pixels, at least 0, not {blur_radius}")
  leading, faces = vertices.shape[:-2], jnp.asarray(faces)
  flat = vertices.astype(jnp.float32).reshape(math.prod(leading), *vertices.shape[-2:])
  if 0 in (flat.shape[1], faces.shape[0]):  # no face at all: gathers need something to read
    flat, faces = jnp.zeros((flat.shape[0], 1, 3), jnp.float32), jnp.zeros((1, 3), jnp.int32)
  corners = _corners(lax.stop_gradient(flat), faces)
  face = select_faces(corners, height, width, faces_per_pixel, float(blur_radius))
  fragments = make_fragments(flat, faces, face, float(blur_radius))
  return Fragments(*(jnp.reshape(x, leading + x.shape[1:]) for x in fragments))


def _corners(vertices: Float[ArrayLike, "B V 3"], faces: Int[ArrayLike, "F 3"]) -> Float[Array, "B F 3 3"]:
  """The vertices of each face.

  They are gathered from one list of all images' vertices. `vertices[:, faces]` would be gathered with the
  images innermost and turned around afterwards, on the CPU for a third of the selection's time.
  """
  batch, count = vertices.shape[:2]
  first = count * jnp.arange(batch, dtype=jnp.int32)[:, None, None]
  return vertices.reshape(-1, 3).at[first + faces[None]].get(mode="promise_in_bounds")
