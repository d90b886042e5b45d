"""One compiled rasterizer for the meshes of many tests.

They are padded to one size and drawn on one screen.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from pdr_jax.render.rasterize import Fragments, rasterize

HEIGHT, WIDTH = 14, 15
MESHES, VERTICES, FACES = 3, 14 * 14, 2 * 13 * 13  # at a time; a depth grid of 14 x 14 is the largest


def weighted(fragments: Fragments, weights) -> jax.Array:
  """A scalar of all that a fragment has.

  It is the weighted sum of depth, barycentrics and signed squared distance.
  """
  return sum(jnp.sum(w * x) for w, x in zip(weights, fragments[1:4], strict=True))


def random_weights(shape, seed=3):
  """Weights of `weighted`, of fragments whose faces have that shape."""
  rng = np.random.RandomState(seed)
  return [rng.randn(*shape).astype(np.float32), rng.randn(*shape, 3).astype(np.float32),
          rng.randn(*shape).astype(np.float32)]


@functools.cache
def program(count: int, blur: float):
  """`(vertices, faces, weights)` to fragments and the gradient of `weighted`, compiled once in a process."""
  def loss(vertices, faces, weights):
    fragments = rasterize(
      vertices, faces, height=HEIGHT, width=WIDTH, faces_per_pixel=count, blur_radius=blur
    )
    return weighted(fragments, weights), fragments

  def run(vertices, faces, weights):
    (_, fragments), gradient = jax.value_and_grad(loss, has_aux=True)(vertices, faces, weights)
    return fragments, gradient

  return jax.jit(run)


def draw(vertices: np.ndarray, faces: np.ndarray, count: int, blur: float, counts=None):
  """Fragments, weights and gradients of meshes `[N, V, 3]` with the same faces, as NumPy arrays.

  The weights are random, and zero for fragments that do not count (`counts [N, H, W, K]`).
  """
  number, size = vertices.shape[:2]
  padded = np.full((-(-number // MESHES) * MESHES, VERTICES + 1, 3), -1, np.float32)  # z < 0: culled
  padded[:number, :size] = vertices
  faces = np.concatenate([faces, np.full((FACES - len(faces), 3), VERTICES)]).astype(np.int32)
  weights = random_weights((len(padded), HEIGHT, WIDTH, count))
  if counts is not None:
    for weight in weights:
      weight[:number] *= counts.reshape(counts.shape + (1,) * (weight.ndim - counts.ndim))
  parts = [
    program(count, blur)(padded[i : i + MESHES], faces, [w[i : i + MESHES] for w in weights])
    for i in range(0, len(padded), MESHES)
  ]
  fragments, gradient = jax.tree.map(lambda *arrays: np.concatenate(arrays)[:number], *parts)
  return fragments, [w[:number] for w in weights], gradient[:, :size]
