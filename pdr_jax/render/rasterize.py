"""Soft rasterizer: the K nearest faces of every pixel, exactly, and their continuous attributes with gradients to the vertices."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from pdr_jax.render.fragments import Fragments, make_fragments
from pdr_jax.render.rasterize_dense import select_dense


def rasterize(vertices: Float[Array, "... V 3"], faces: Int[Array, "F 3"], *, height: int, width: int, faces_per_pixel: int = 1,
              blur_radius: float = 0.0) -> Fragments:
  """Finds the `faces_per_pixel` nearest faces of every pixel.

  Args:
    vertices: screen space `(u, v, z)`: u right and v down in pixels, pixel centres at integers, z the depth. Float32.
    faces: vertex indices, in range. Both windings count.
    height, width: of the image, in pixels.
    faces_per_pixel: K, at least 1.
    blur_radius: pixels; faces up to this far from a pixel are reported too.

  Returns:
    `Fragments`; see there.
  """
  leading = vertices.shape[:-2]
  flat = vertices.reshape(-1, *vertices.shape[-2:])
  corners = flat[:, faces]
  face = select_dense(lax.stop_gradient(corners), height, width, faces_per_pixel, blur_radius)
  fragments = make_fragments(corners, face, blur_radius)
  return Fragments(*(jnp.reshape(x, leading + x.shape[1:]) for x in fragments))
