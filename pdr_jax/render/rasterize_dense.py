"""The all-faces-by-all-pixels selection: slow, obvious, and what the fast selection must equal.

For tests and benchmarks.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from pdr_jax.render.coverage import cover, sort_faces


def select_dense(
  corners: Float[ArrayLike, "B F 3 3"],
  height: int,
  width: int,
  faces_per_pixel: int,
  blur_radius: float,
  block: int = 64,
) -> Int[Array, "B H W K"]:
  """The nearest faces of every pixel by testing every face there, `block` faces at a time; -1: none."""
  faces_total = corners.shape[1]
  padding = -faces_total % block
  corners = jnp.pad(corners, ((0, 0), (0, padding), (0, 0), (0, 0)))  # padding has z = 0: culled
  u = jnp.arange(width, dtype=jnp.float32)[None, None, :]
  v = jnp.arange(height, dtype=jnp.float32)[None, :, None]

  def image(corners_of_image):
    blocks = jax.tree.map(
      lambda x: x.reshape(-1, block, 1, 1), sort_faces(*jnp.moveaxis(corners_of_image, (2, 1), (0, 1)))
    )

    def step(best, inputs):
      faces, start = inputs
      q = lax.optimization_barrier(cover(faces, u, v, blur_radius))
      index = jnp.broadcast_to(start + jnp.arange(block, dtype=jnp.int32)[:, None, None], q.shape)
      # earlier faces come first, and argmax takes the first of equals: the lowest index wins a tie
      q, index = jnp.concatenate([best[0], q]), jnp.concatenate([best[1], index])
      kept_q, kept_index = [], []
      for _ in range(faces_per_pixel):
        first = jnp.argmax(q, axis=0, keepdims=True)
        kept_q.append(jnp.take_along_axis(q, first, axis=0))
        kept_index.append(jnp.take_along_axis(index, first, axis=0))
        # XLA would recompute it all
        q = lax.optimization_barrier(jnp.where(jnp.arange(q.shape[0])[:, None, None] == first, -2.0, q))
      return (jnp.concatenate(kept_q), jnp.concatenate(kept_index)), None

    empty = (
      jnp.full((faces_per_pixel, height, width), -1.0),
      jnp.full((faces_per_pixel, height, width), -1, jnp.int32),
    )
    starts = jnp.arange(blocks.au.shape[0], dtype=jnp.int32) * block
    (q, index), _ = lax.scan(step, empty, (blocks, starts))
    return jnp.moveaxis(jnp.where(q > 0, index, -1), 0, -1)

  return lax.map(image, corners)
