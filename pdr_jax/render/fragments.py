"""What the rasterizer returns, recomputed differentiably from the vertices of the selected faces."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from pdr_jax.render.coverage import MAX_DEPTH, MIN_AREA, MIN_DEPTH, MIN_EDGE_SQ

# one array for each of a face's three vertices
Triple = Sequence[Float[ArrayLike, "..."]] | Float[ArrayLike, "3 ..."]


class Fragments(NamedTuple):
  """The nearest faces of every pixel, nearest first.

  Entries without a face have `face == -1` and zeros everywhere else.

  Attributes:
    face: index into `faces`, -1 where there is no further face.
    depth: z of the face at the pixel (perspective-correct), in the vertices' unit.
    barycentric: perspective-correct weights in the order of the face's vertices, each in [0, 1], summing to
      one.
    signed_distance_sq: squared pixels to the face's outline on the screen; negative inside the face, positive
      outside.
  """
  face: Int[Array, "... H W K"]
  depth: Float[Array, "... H W K"]
  barycentric: Float[Array, "... H W K 3"]
  signed_distance_sq: Float[Array, "... H W K"]


class _Outline(NamedTuple):
  """The point of a face's outline nearest to the origin."""
  weights: Triple  # of the three vertices
  along: Triple  # derivative of the weights by the position along the edge; zeros where the point is a vertex
  u: Float[Array, "..."]  # the point
  v: Float[Array, "..."]
  edge_u: Float[Array, "..."]  # the edge it is on, divided by its squared length
  edge_v: Float[Array, "..."]
  across: Float[Array, "..."]  # one over the squared length


def _plane_weights(x: Triple, y: Triple):
  """Screen barycentrics of the origin, whether they are usable (area not zero), and 1 / (2 area)."""
  areas = [x[(i + 1) % 3] * y[(i + 2) % 3] - y[(i + 1) % 3] * x[(i + 2) % 3] for i in range(3)]
  total = areas[0] + areas[1] + areas[2]
  solid = jnp.abs(total) > MIN_AREA
  inverse = 1.0 / jnp.where(solid, total, 1.0)
  return [jnp.where(solid, a * inverse, 1 / 3) for a in areas], solid, jnp.where(solid, inverse, 0.0)


def _nearest_on_outline(x: Triple, y: Triple) -> _Outline:
  """The nearest point of the outline to the origin; the first edge wins a tie."""
  edges = []
  for i in range(3):
    j = (i + 1) % 3
    du, dv = x[j] - x[i], y[j] - y[i]
    length_sq = du * du + dv * dv
    proper = length_sq > MIN_EDGE_SQ
    inverse = 1.0 / jnp.where(proper, length_sq, 1.0)
    raw = -(x[i] * du + y[i] * dv) * inverse
    between = proper & (raw > 0) & (raw < 1)
    t = jnp.where(proper, jnp.clip(raw, 0.0, 1.0), 0.0)
    u, v = x[i] + t * du, y[i] + t * dv
    edges.append(
      (
        lax.stop_gradient(u * u + v * v),
        t,
        between.astype(t.dtype),
        u,
        v,
        du * inverse,
        dv * inverse,
        inverse,
      )
    )
  (d0, t0, b0, *rest0), (d1, t1, b1, *rest1), (d2, t2, b2, *rest2) = edges
  is0 = (d0 <= d1) & (d0 <= d2)
  is1 = ~is0 & (d1 <= d2)

  def pick(on0, on1, on2):
    return jnp.where(is0, on0, jnp.where(is1, on1, on2))

  zero = jnp.zeros_like(t0)
  return _Outline([pick(1 - t0, zero, t2), pick(t0, 1 - t1, zero), pick(zero, t1, 1 - t2)],
                  [pick(-b0, zero, b2), pick(b0, -b1, zero), pick(zero, b1, -b2)],
                  *(pick(*values) for values in zip(rest0, rest1, rest2, strict=True)))


def _weights(x: Triple, y: Triple, blurred: bool):
  """Screen weights of the point of the face that stands for the pixel at the origin.

  Besides them, all that their derivatives need: inside or not, 1 / (2 area), the nearest outline point.
  """
  plane, solid, inverse_area = _plane_weights(x, y)
  outline = _nearest_on_outline(x, y)
  if blurred:
    inside = solid & (jnp.minimum(jnp.minimum(plane[0], plane[1]), plane[2]) >= 0)
    return (
      [jnp.where(inside, p, o) for p, o in zip(plane, outline.weights, strict=True)],
      inside,
      inverse_area,
      outline,
    )
  # Without blur every selected face covers its pixel: only rounding can put a pixel that is on an edge
  # outside, by next to nothing.
  clipped = [jnp.maximum(p, 0.0) for p in plane]
  inverse = 1.0 / (clipped[0] + clipped[1] + clipped[2])  # the plane weights sum to one, so this is about one
  return [c * inverse for c in clipped], jnp.ones_like(solid), inverse_area, outline


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _point_on_face(x: Triple, y: Triple, blurred: bool):
  """Screen weights (three) of the point of a face that stands for the origin.

  It also gives the signed squared distance to the face's outline. The derivatives are written out: the
  weights of a point follow from how the face moves *at that point*, two numbers, where automatic
  differentiation would carry every product of coordinates along. Both agree (tests); this one takes a
  fraction of the time.
  """
  weights, inside, _, outline = _weights(x, y, blurred)
  distance = outline.u * outline.u + outline.v * outline.v
  return weights, jnp.where(inside, -distance, distance)


@_point_on_face.defjvp
def _(blurred, primals, tangents):
  x, y = primals
  dx, dy = tangents
  weights, inside, inverse_area, outline = _weights(x, y, blurred)

  def motion(of):
    return (of[0] * dx[0] + of[1] * dx[1] + of[2] * dx[2], of[0] * dy[0] + of[1] * dy[1] + of[2] * dy[2])

  outline_u, outline_v = motion(outline.weights)
  # d|n|^2 = 2 n . dn, and sliding along the edge does not count: n is normal to it
  distance = outline.u * outline.u + outline.v * outline.v
  slope = jnp.where(inside, -2.0, 2.0)
  d_distance = slope * outline.u * outline_u + slope * outline.v * outline_v
  # inside: where the face moves by m at the pixel, the weights there change by minus their slope along m
  inside_scale = jnp.where(inside, inverse_area, 0.0)
  face_u, face_v = motion(weights)
  d_weights = []
  for i in range(3):
    j, k = (i + 1) % 3, (i + 2) % 3
    d_weights.append(-(inside_scale * (y[j] - y[k])) * face_u - (inside_scale * (x[k] - x[j])) * face_v)
  if blurred:
    # outside: the foot of the perpendicular slides on its edge, as the edge moves along itself and as it
    # turns
    turn_u, turn_v = motion(outline.along)
    outside = jnp.where(inside, 0.0, 1.0)
    slide = (
      -(outside * outline.edge_u) * outline_u
      - (outside * outline.edge_v) * outline_v
      - (outside * outline.across * outline.u) * turn_u
      - (outside * outline.across * outline.v) * turn_v
    )
    d_weights = [d + along * slide for d, along in zip(d_weights, outline.along, strict=True)]
  return (weights, jnp.where(inside, -distance, distance)), (d_weights, d_distance)


def describe(
  u: Triple,
  v: Triple,
  z: Triple,
  pixel_u: Float[ArrayLike, "..."],
  pixel_v: Float[ArrayLike, "..."],
  blurred: bool,
):
  """Depth, three barycentrics and signed squared distance of faces at pixels.

  Differentiable in the vertices, to any order.

  Inside a face they are those of the point of the face at the pixel; outside (only if `blurred`) those of the
  point of its outline nearest on the screen. Finite, with finite gradients, for all faces that
  `coverage.sort_faces` does not cull.
  """
  weights, distance = _point_on_face([x - pixel_u for x in u], [y - pixel_v for y in v], blurred)
  scaled = [w / jnp.clip(depth, MIN_DEPTH, MAX_DEPTH) for w, depth in zip(weights, z, strict=True)]
  depth = 1.0 / (scaled[0] + scaled[1] + scaled[2])
  return depth, [s * depth for s in scaled], distance


def make_fragments(
  vertices: Float[ArrayLike, "B V 3"],
  faces: Int[ArrayLike, "F 3"],
  face: Int[ArrayLike, "B H W K"],
  blur_radius: float,
) -> Fragments:
  """Fragments of the selected faces (-1: none); gradients reach `vertices`."""
  batch, count = vertices.shape[:2]
  _, height, width, _ = face.shape
  hit = (face >= 0).reshape(-1)
  first = 3 * jnp.maximum(face, 0).reshape(-1)
  image = jnp.broadcast_to(jnp.arange(batch, dtype=jnp.int32)[:, None, None, None], face.shape).reshape(-1)
  pixel_v = jnp.broadcast_to(
    jnp.arange(height, dtype=vertices.dtype)[None, :, None, None], face.shape
  ).reshape(-1)
  pixel_u = jnp.broadcast_to(
    jnp.arange(width, dtype=vertices.dtype)[None, None, :, None], face.shape
  ).reshape(-1)
  # Coordinates are gathered one by one: rows of three or nine would be split again, which is slow backwards.
  # An index out of range reads as 1.0 and drops its gradient: where there is no face, all vertices are the
  # harmless point (1, 1, 1).
  corner = [faces.reshape(-1).at[first + i].get(mode="promise_in_bounds") for i in range(3)]
  corner = [jnp.where(hit, c + image * count, batch * count) for c in corner]
  u, v, z = (
    [vertices[..., i].reshape(-1).at[c].get(mode="fill", fill_value=1.0) for c in corner] for i in range(3)
  )
  depth, barycentric, distance = describe(u, v, z, pixel_u, pixel_v, blur_radius > 0)

  def finish(values):
    return jnp.where(hit, values, 0.0).reshape(face.shape)

  return Fragments(
    face,
    finish(depth),
    jnp.stack([finish(b) for b in barycentric], axis=-1),
    finish(distance),
  )
