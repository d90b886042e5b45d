"""Which pixels a triangle covers, and how near it is there.

Every selection of faces shares this one float32 definition. Screen space is `(u, v, z)` with u right and v
down in pixels, pixel centres at integers (CONVENTIONS.md). Nothing here is differentiated: selections of
faces run under `stop_gradient`, and `fragments.py` recomputes what is continuous.

The corners of a face are sorted by `(v, u)` first. An edge shared by two faces is then walked in the same
direction for both, so its edge function comes out bit for bit the same up to sign (also where a compiler
fuses multiply and add), and no pixel falls between them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

MIN_AREA = 1e-12  # squared pixels (twice the area): a face of at most this is a segment or a point
MIN_EDGE_SQ = 1e-12  # squared pixels: an edge of at most this is a point
# Depths are clamped to this, so that gradients stay finite: the powers of these in first derivatives, times
# those of the smallest area and of the largest coordinate, fit float32.
MIN_DEPTH, MAX_DEPTH = 1e-5, 1e5
# pixels: a face with a vertex further out is culled (float32 has lost the pixel long before)
MAX_COORDINATE = 1e9


# one array for each of a face's three vertices
Corners = Sequence[Float[ArrayLike, "..."]] | Float[ArrayLike, "3 ..."]


class SortedFaces(NamedTuple):
  """Faces ready for testing; every array has the shape of the faces.

  `a`, `b`, `c` are the corners by increasing `(v, u)`.
  """
  au: Float[Array, "..."]
  av: Float[Array, "..."]
  bu: Float[Array, "..."]
  bv: Float[Array, "..."]
  cu: Float[Array, "..."]
  cv: Float[Array, "..."]
  qa: Float[Array, "..."]  # reciprocal depths, positive
  qb: Float[Array, "..."]
  qc: Float[Array, "..."]
  visible: Bool[Array, "..."]  # not culled
  solid: Bool[Array, "..."]  # not culled, and of nonzero area


def usable(
  u: Float[ArrayLike, "..."], v: Float[ArrayLike, "..."], z: Float[ArrayLike, "..."]
) -> Bool[Array, "..."]:
  """Whether a vertex lets its faces be drawn: z > 0, finite, and not beyond `MAX_COORDINATE`."""
  # all false for NaN
  return (jnp.abs(u) <= MAX_COORDINATE) & (jnp.abs(v) <= MAX_COORDINATE) & (z > 0) & (z < jnp.inf)


def sort_faces(u: Corners, v: Corners, z: Corners) -> SortedFaces:
  """Sorts faces that are given as three `u`, three `v` and three `z`.

  A face with a vertex that is not `usable` is culled.
  """
  visible = usable(u[0], v[0], z[0]) & usable(u[1], v[1], z[1]) & usable(u[2], v[2], z[2])
  u = [jnp.where(visible, x, 0.0) for x in u]
  v = [jnp.where(visible, x, 0.0) for x in v]
  q = [1.0 / jnp.where(visible, jnp.clip(x, MIN_DEPTH, MAX_DEPTH), 1.0) for x in z]

  def precedes(i, j):
    return (v[i] < v[j]) | ((v[i] == v[j]) & (u[i] <= u[j]))

  # three comparisons and nine choices, side by side: a chain of swaps makes XLA recompute its beginning many
  # times over
  p01, p02, p12 = precedes(0, 1), precedes(0, 2), precedes(1, 2)
  # is it corner 0, is it corner 1
  places = ((p01 & p02, ~p01 & p12), (p01 != p02, p01 == p12), (~p01 & ~p02, p01 & ~p12))
  (au, bu, cu), (av, bv, cv), (qa, qb, qc) = (
      [jnp.where(is0, x[0], jnp.where(is1, x[1], x[2])) for is0, is1 in places] for x in (u, v, q))
  area = (bu - au) * (cv - av) - (bv - av) * (cu - au)
  return SortedFaces(au, av, bu, bv, cu, cv, qa, qb, qc, visible, visible & (jnp.abs(area) > MIN_AREA))


def _edge(u0, v0, u1, v1, q0, q1):
  """Squared distance of the origin to a segment, and the reciprocal depth at its nearest point."""
  du, dv = u1 - u0, v1 - v0
  length_sq = du * du + dv * dv
  t = jnp.clip(-(u0 * du + v0 * dv) / jnp.where(length_sq > MIN_EDGE_SQ, length_sq, 1.0), 0.0, 1.0)
  t = jnp.where(length_sq > MIN_EDGE_SQ, t, 0.0)
  pu, pv = u0 + t * du, v0 + t * dv
  return pu * pu + pv * pv, q0 + t * (q1 - q0)


def cover(
  faces: SortedFaces, u: Float[ArrayLike, "..."], v: Float[ArrayLike, "..."], blur_radius: float
) -> Float[Array, "..."]:
  """Reciprocal depth of the face at the pixel, or -1 where the face does not reach the pixel.

  Larger is nearer.

  A pixel is reached when it lies in the closed triangle, or when `blur_radius > 0` and the face is at most
  that far away on the screen; the depth is then that of the nearest point. A zero-area face is reached by its
  blur only.

  Args:
    faces: sorted faces, of any shape that broadcasts with the pixels' (equal ranks).
    u, v: pixel coordinates.
    blur_radius: pixels, a Python number.
  """
  au, av, bu, bv, cu, cv = faces.au - u, faces.av - v, faces.bu - u, faces.bv - v, faces.cu - u, faces.cv - v
  wa, wb, wc = bu * cv - bv * cu, -(au * cv - av * cu), au * bv - av * bu
  total = wa + wb + wc
  # the exact bounding box keeps rounding noise in the edge functions of minute faces from reaching pixels far
  # away
  boxed = (
    (jnp.minimum(jnp.minimum(au, bu), cu) <= 0)
    & (jnp.maximum(jnp.maximum(au, bu), cu) >= 0)
    & (av <= 0)
    & (cv >= 0)
  )
  lowest, highest = jnp.minimum(jnp.minimum(wa, wb), wc), jnp.maximum(jnp.maximum(wa, wb), wc)
  inside = faces.solid & boxed & ((lowest >= 0) | (highest <= 0)) & (total != 0)
  q = (wa * faces.qa + wb * faces.qb + wc * faces.qc) / jnp.where(inside, total, 1.0)
  if blur_radius == 0:
    return jnp.where(inside, q, -1.0)
  nearest, q_edge = _edge(au, av, bu, bv, faces.qa, faces.qb)
  for other, q_other in (
    _edge(bu, bv, cu, cv, faces.qb, faces.qc),
    _edge(au, av, cu, cv, faces.qa, faces.qc),
  ):
    q_edge = jnp.where(other < nearest, q_other, q_edge)
    nearest = jnp.minimum(nearest, other)
  reached = faces.visible & (nearest <= blur_radius * blur_radius)
  return jnp.where(inside, q, jnp.where(reached, q_edge, -1.0))
