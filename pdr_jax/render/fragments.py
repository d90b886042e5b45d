"""What the rasterizer returns, recomputed differentiably from the vertices of the selected faces."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from pdr_jax.render.coverage import MAX_DEPTH, MIN_AREA, MIN_DEPTH, MIN_EDGE_SQ


class Fragments(NamedTuple):
  """The nearest faces of every pixel, nearest first. Entries without a face have `face == -1` and zeros everywhere else.

  Attributes:
    face: index into `faces`, -1 where there is no further face.
    depth: z of the face at the pixel (perspective-correct), in the vertices' unit.
    barycentric: perspective-correct weights in the order of the face's vertices, each in [0, 1], summing to one.
    signed_distance_sq: squared pixels to the face's outline on the screen; negative inside the face, positive outside.
    overflow: number of (face, pixel) candidates that were dropped, per image. The present algorithm drops none: always zero.
  """
  face: Int[Array, "... H W K"]
  depth: Float[Array, "... H W K"]
  barycentric: Float[Array, "... H W K 3"]
  signed_distance_sq: Float[Array, "... H W K"]
  overflow: Int[Array, "..."]


def _edge(u0, v0, u1, v1):
  """Squared distance of the origin to a segment and the weight of its second end at the nearest point."""
  du, dv = u1 - u0, v1 - v0
  length_sq = du * du + dv * dv
  proper = length_sq > MIN_EDGE_SQ
  raw = -(u0 * du + v0 * dv) / jnp.where(proper, length_sq, 1.0)
  t = jnp.where(proper & (raw > 0), jnp.where(raw < 1, raw, 1.0), 0.0)
  pu, pv = u0 + t * du, v0 + t * dv
  return pu * pu + pv * pv, t


def describe(corners: Float[Array, "*S 3 3"], u: Float[Array, "*S"], v: Float[Array, "*S"], tolerance: float):
  """Depth, barycentrics `[*S, 3]` and signed squared distance of faces at pixels. Differentiable in the corners.

  Inside the face (screen barycentrics not below -tolerance) they are those of the face at the pixel; elsewhere those of the
  point of its outline nearest on the screen. Finite, with finite gradients, for any corners that `coverage.sort_faces` keeps.
  """
  x = [corners[..., i, 0] - u for i in range(3)]
  y = [corners[..., i, 1] - v for i in range(3)]
  areas = [x[(i + 1) % 3] * y[(i + 2) % 3] - y[(i + 1) % 3] * x[(i + 2) % 3] for i in range(3)]
  total = areas[0] + areas[1] + areas[2]
  solid = jnp.abs(total) > MIN_AREA
  inverse = 1.0 / jnp.where(solid, total, 1.0)
  inside_weights = [a * inverse for a in areas]
  inside = lax.stop_gradient(solid & (jnp.minimum(jnp.minimum(*inside_weights[:2]), inside_weights[2]) >= -tolerance))
  inverse = 1.0 / jnp.where(inside, total, 1.0)  # again, masked by `inside`: no gradient of what is not used
  distance, weights = None, None
  for i in range(3):
    j = (i + 1) % 3
    distance_i, t = _edge(x[i], y[i], x[j], y[j])
    weights_i = [jnp.zeros_like(t)] * 3
    weights_i[i], weights_i[j] = 1.0 - t, t
    if distance is None:
      distance, weights = distance_i, weights_i
    else:
      closer = lax.stop_gradient(distance_i) < lax.stop_gradient(distance)
      distance = jnp.where(closer, distance_i, distance)
      weights = [jnp.where(closer, new, old) for new, old in zip(weights_i, weights, strict=True)]
  weights = [jnp.where(inside, jnp.where(inside, a, 0.0) * inverse, w) for a, w in zip(areas, weights, strict=True)]
  reciprocal = [1.0 / jnp.clip(corners[..., i, 2], MIN_DEPTH, MAX_DEPTH) for i in range(3)]
  scaled = [w * r for w, r in zip(weights, reciprocal, strict=True)]
  depth = 1.0 / (scaled[0] + scaled[1] + scaled[2])
  barycentric = jnp.stack([s * depth for s in scaled], axis=-1)
  return depth, barycentric, jnp.where(inside, -distance, distance)


def make_fragments(corners: Float[Array, "B F 3 3"], face: Int[Array, "B H W K"], blur_radius: float) -> Fragments:
  """Fragments of the selected faces (-1: none); gradients reach `corners`."""
  batch, faces_total = corners.shape[:2]
  _, height, width, _ = face.shape
  found = face >= 0
  row = jnp.where(found, face + faces_total * jnp.arange(batch, dtype=jnp.int32)[:, None, None, None], 0)
  chosen = corners.reshape(batch * faces_total, 9).at[row].get(mode="promise_in_bounds").reshape(*face.shape, 3, 3)
  # where there is no face: a harmless triangle, put in before anything is computed
  harmless = jnp.array([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], corners.dtype)
  chosen = jnp.where(found[..., None, None], chosen, harmless[None, None, None, None])
  u = jnp.broadcast_to(jnp.arange(width, dtype=corners.dtype)[None, None, :, None], face.shape)
  v = jnp.broadcast_to(jnp.arange(height, dtype=corners.dtype)[None, :, None, None], face.shape)
  u, v = jnp.where(found, u, 0.0), jnp.where(found, v, 0.0)
  # without blur every selected face covers its pixel; rounding must not move a pixel on an edge out of the face's plane
  depth, barycentric, distance = describe(chosen, u, v, tolerance=1e-3 if blur_radius == 0 else 0.0)
  return Fragments(face, jnp.where(found, depth, 0.0), jnp.where(found[..., None], barycentric, 0.0), jnp.where(found, distance, 0.0),
                   jnp.zeros((batch,), jnp.int32))
