"""The fast exact selection of faces.

Faces are cut into row spans, spans into pixels, and every pixel keeps its K nearest faces. Work grows with
the number of (face, row) and (face, pixel) pairs that really meet, so minute, stretched and screen-filling
faces go the same way, and nothing has a capacity: both lists are walked in chunks of a fixed size by
`lax.while_loop`, to their ends. Lists are compacted over the whole batch. Whether a pixel is covered, and how
near, is decided by `coverage.cover`, as in the all-faces definition; spans only propose pixels, with a margin
above rounding errors.

Primitives were chosen by measurement on XLA:CPU: scatters and gathers of scalars take 2-3 ns per element,
sorts a hundred times that, and every array written costs its page faults.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, ArrayLike, Float, Int

from pdr_jax.render.coverage import cover, sort_faces, usable

NOBODY = 2**31 - 1  # face index that loses every tie
INT32_ENTRIES = 2**31 - 1


def _take(values, index):
  return values.at[index].get(mode="promise_in_bounds")


def _expand(ends, counts, start, size):
  """Owners of the list entries `start ... start + size`.

  Owner `i` has `counts[i]` entries, ending before `ends[i]`. Entries after the end of the list belong to the
  last owner.
  """
  # one mark where each owner's entries begin, and the marks so far count the owners; owners without entries
  # mark the same place
  begins = jnp.maximum(ends - counts - start, 0)
  return jnp.cumsum(jnp.zeros((size,), jnp.int32).at[begins].add(1, mode="drop")) - 1


def _clip_edge(u0, v0, u1, v1, low, high):
  """Smallest and largest u of the part of an edge between two heights; (inf, -inf) if there is none."""
  swap = v1 < v0
  u0, v0, u1, v1 = (
    jnp.where(swap, u1, u0),
    jnp.where(swap, v1, v0),
    jnp.where(swap, u0, u1),
    jnp.where(swap, v0, v1),
  )
  slope = (u1 - u0) / jnp.where(v1 > v0, v1 - v0, 1.0)
  first = jnp.where(v0 >= low, u0, u0 + (low - v0) * slope)
  second = jnp.where(v1 <= high, u1, u0 + (high - v0) * slope)
  met = (v0 <= high) & (v1 >= low)
  return jnp.where(met, jnp.minimum(first, second), jnp.inf), jnp.where(
    met, jnp.maximum(first, second), -jnp.inf
  )


def _lowest(x):
  return jnp.minimum(jnp.minimum(x[0], x[1]), x[2])


def _highest(x):
  return jnp.maximum(jnp.maximum(x[0], x[1]), x[2])


def _margin(u, v):
  """More pixels than what rounding can move an edge by, in the spans and in `cover`.

  That is some eps times the coordinates.
  """
  return 1e-3 + 1e-5 * (_highest([jnp.abs(x) for x in u]) + _highest([jnp.abs(x) for x in v]))


def _first_and_count(low, high, size: int):
  """The integers in `[low, high]` that are in `[0, size)`: the first, and how many."""
  first = jnp.ceil(jnp.clip(low, 0.0, size)).astype(jnp.int32)
  last = jnp.floor(jnp.clip(high, -1.0, size - 1.0)).astype(jnp.int32)
  return first, jnp.maximum(last - first + 1, 0)


def _rows(u, v, z, height: int, width: int, blur_radius: float):
  """First row and number of rows of the image that each face may reach."""
  # without blur `cover` tests the bounding box exactly
  slack = blur_radius + _margin(u, v) if blur_radius > 0 else 0.0
  first, rows = _first_and_count(_lowest(v) - slack, _highest(v) + slack, height)
  _, columns = _first_and_count(_lowest(u) - slack, _highest(u) + slack, width)
  visible = usable(u[0], v[0], z[0]) & usable(u[1], v[1], z[1]) & usable(u[2], v[2], z[2])
  return first, jnp.where(visible & (columns > 0), rows, 0)


def _columns(u, v, row, width: int, blur_radius: float):
  """First column and number of columns that each face may reach in a row."""
  reach = blur_radius + _margin(u, v)
  low, high = row - reach, row + reach
  left, right = _clip_edge(u[0], v[0], u[1], v[1], low, high)
  for i, j in ((1, 2), (2, 0)):
    other_left, other_right = _clip_edge(u[i], v[i], u[j], v[j], low, high)
    left, right = jnp.minimum(left, other_left), jnp.maximum(right, other_right)
  return _first_and_count(left - reach, right + reach, width)


class _Nearest(NamedTuple):
  """The K nearest faces of every pixel so far, nearest first.

  Reciprocal depths (-1: none) and faces (NOBODY: none).
  """
  q: Float[Array, "K P"]
  face: Int[Array, "K P"]


def _merge_one(nearest: _Nearest, pixel, q, face) -> _Nearest:
  """K = 1: the larger reciprocal depth, then the lower index.

  Candidates whose pixel is out of range do not count.
  """
  best = nearest.q[0].at[pixel].max(q, mode="drop")
  owner = jnp.where(best > nearest.q[0], NOBODY, nearest.face[0])
  first = (q > 0) & (q == best.at[pixel].get(mode="clip"))
  return _Nearest(best[None], owner.at[pixel].min(jnp.where(first, face, NOBODY), mode="drop")[None])


def _insert(nearest: _Nearest, q, face) -> _Nearest:
  """Inserts one candidate per pixel into the ordered lists."""
  stays = (nearest.q > q) | ((nearest.q == q) & (nearest.face < face))

  def shift(stack, first):
    return jnp.concatenate([jnp.full_like(stack[:1], first), stack[:-1]])

  stays_before = shift(stays, True)
  return _Nearest(jnp.where(stays, nearest.q, jnp.where(stays_before, q, shift(nearest.q, 0))),
                  jnp.where(stays, nearest.face, jnp.where(stays_before, face, shift(nearest.face, 0))))


def _merge_many(nearest: _Nearest, pixel, q, face) -> _Nearest:
  """Peels the candidates: the nearest of every pixel, the next nearest, ... at most K.

  Then joins them with the lists so far.
  """
  count = nearest.q.shape[0]

  def peel(carry):
    peeled, q, taken, _ = carry
    best = jnp.full_like(nearest.q[0], -1.0).at[pixel].max(q, mode="drop")
    first = (q > 0) & (q == best.at[pixel].get(mode="clip"))
    owner = jnp.full_like(nearest.face[0], NOBODY).at[pixel].min(jnp.where(first, face, NOBODY), mode="drop")
    q = jnp.where(first & (face == owner.at[pixel].get(mode="clip")), -1.0, q)
    peeled = _Nearest(lax.dynamic_update_index_in_dim(peeled.q, best, taken, 0),
                     lax.dynamic_update_index_in_dim(peeled.face, owner, taken, 0))
    return peeled, q, taken + 1, jnp.any(q > 0)

  nothing = _Nearest(jnp.full_like(nearest.q, -1.0), jnp.full_like(nearest.face, NOBODY))
  peeled, _, taken, _ = lax.while_loop(
    lambda carry: carry[3] & (carry[2] < count), peel, (nothing, q, jnp.int32(0), jnp.any(q > 0))
  )

  def join(nearest):
    return lax.fori_loop(
      0, taken, lambda i, nearest: _insert(nearest, peeled.q[i][None], peeled.face[i][None]), nearest
    )

  return lax.cond(jnp.any(nearest.q[0] > 0), join, lambda _: peeled, nearest)


def _select(
  corners: Float[ArrayLike, "B F 3 3"], height: int, width: int, faces_per_pixel: int, blur_radius: float
):
  batch, per_image = corners.shape[:2]
  total_faces, pixels = batch * per_image, height * width
  numbers = corners.reshape(-1)

  def coordinates(face, which):
    """The u, v or z of the three corners of some faces.

    They are read where they lie: no array of sorted faces is ever written.
    """
    return [_take(numbers, 9 * face + 3 * i + which) for i in range(3)]

  u, v, z = (corners.reshape(total_faces, 3, 3)[..., i] for i in range(3))
  first_row, rows = _rows(u.T, v.T, z.T, height, width, blur_radius)
  row_ends = jnp.cumsum(rows)
  total_rows = row_ends[-1]
  row_offset = first_row - row_ends + rows
  row_chunk = min(max(total_faces, 1024), INT32_ENTRIES // width)
  pixel_chunk = max(batch * pixels, total_faces if faces_per_pixel > 1 else total_faces // 2, 1024)
  merge = _merge_one if faces_per_pixel == 1 else _merge_many

  def over_rows(carry):
    start, nearest = carry
    entry = start + jnp.arange(row_chunk, dtype=jnp.int32)
    face = _expand(row_ends, rows, start, row_chunk)
    row = _take(row_offset, face) + entry
    first_column, columns = _columns(
      coordinates(face, 0), coordinates(face, 1), row.astype(jnp.float32), width, blur_radius
    )
    columns = jnp.where(entry < total_rows, columns, 0)
    column_ends = jnp.cumsum(columns)
    total_columns = column_ends[-1]
    column_offset = first_column - column_ends + columns

    def over_columns(carry):
      start, nearest = carry
      entry = start + jnp.arange(pixel_chunk, dtype=jnp.int32)
      span = _expand(column_ends, columns, start, pixel_chunk)
      owner, v, u = _take(face, span), _take(row, span), _take(column_offset, span) + entry
      q = cover(
        sort_faces(*(coordinates(owner, i) for i in range(3))),
        u.astype(jnp.float32),
        v.astype(jnp.float32),
        blur_radius,
      )
      valid = entry < total_columns
      pixel = jnp.where(valid, (owner // per_image) * pixels + v * width + u, batch * pixels)
      return start + pixel_chunk, merge(nearest, pixel, jnp.where(valid, q, -1.0), owner)

    _, nearest = lax.while_loop(lambda carry: carry[0] < total_columns, over_columns, (jnp.int32(0), nearest))
    return start + row_chunk, nearest

  nearest = _Nearest(jnp.full((faces_per_pixel, batch * pixels), -1.0, jnp.float32),
                     jnp.full((faces_per_pixel, batch * pixels), NOBODY, jnp.int32))
  _, nearest = lax.while_loop(lambda carry: carry[0] < total_rows, over_rows, (jnp.int32(0), nearest))
  face = jnp.where(nearest.q > 0, nearest.face % per_image, -1)
  return jnp.moveaxis(face.reshape(faces_per_pixel, batch, height, width), 0, -1)


def select_faces(corners: Float[ArrayLike, "B F 3 3"], height: int, width: int, faces_per_pixel: int,
                 blur_radius: float) -> Int[Array, "B H W K"]:
  """The `faces_per_pixel` nearest faces of every pixel, nearest first.

  Among equals the lowest index comes first; -1 where there is none. Not differentiable. Under `vmap` the
  mapped axis joins the batch.

  Raises:
    ValueError: more than 2^31 (face, row) pairs could arise in one image.
  """
  @custom_vmap
  def select(corners):
    batch, per_image = corners.shape[:2]
    if 0 in (batch, per_image, height, width):
      return jnp.full((batch, height, width, faces_per_pixel), -1, jnp.int32)
    # images whose (face, row) pairs int32 can count in any case
    group = INT32_ENTRIES // (per_image * height)
    if group == 0:
      raise ValueError(
        f"rasterize: {per_image} faces at {height} rows are more than this rasterizer can count "
        "(faces x rows < 2^31)"
      )
    if batch <= group:
      return _select(corners, height, width, faces_per_pixel, blur_radius)
    padded = jnp.pad(corners, ((0, -batch % group), (0, 0), (0, 0), (0, 0)))  # padding is culled: z = 0
    face = lax.map(
      lambda c: _select(c, height, width, faces_per_pixel, blur_radius),
      padded.reshape(-1, group, per_image, 3, 3),
    )
    return face.reshape(-1, height, width, faces_per_pixel)[:batch]

  @select.def_vmap
  def _(axis_size, in_batched, corners):
    del in_batched  # the only argument: always mapped
    face = select_faces(corners.reshape(-1, *corners.shape[2:]), height, width, faces_per_pixel, blur_radius)
    return face.reshape(axis_size, -1, *face.shape[1:]), True

  return select(corners)
