"""Volumes of features or densities: rotation about their centre, and projection along the viewing direction.

A volume is `[B, D, H, W, C]`: D counts planes along z (forward: plane 0 is the nearest), H rows along y
(down), W columns along x (right), as in CONVENTIONS.md. Voxels are cubes of side 1 with their centres at
integers (corner-aligned: in a cube of N voxels a side whose coordinates run over [-1, 1], the first centre is
at -1 and the last at 1). The pivot is the volume's centre, `((D - 1)/2, (H - 1)/2, (W - 1)/2)`. Rays are
parallel to z. Outside is zero: beyond the outermost centres values fade to zero over one voxel.

A rotation R takes points of the object to the camera's frame, as a view does: what is at `p` moves to `R p`,
so the result at `p` is the volume at `R^T p`, by trilinear interpolation of its 8 neighbours. SSV (arXiv
2004.01793) samples at `R' p` with its `R' = Ry(a) Rx(e) Rz(t)`: pass `R = R'^T`.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from pdr_jax.errors import UserError

# For each axis: the volume's axes of the plane that turns (the first turns towards the second), and the axis
# that stays.
PLANES = {"x": (2, 1, 3), "y": (1, 3, 2), "z": (3, 2, 1)}


def rotate(
    volume: Float[Array, "B D H W C"], rotation: Float[Array, "B 3 3"], *, nearest: bool = False
) -> Float[Array, "B D H W C"]:
  """Turns volumes by any rotation about their centre.

  A multiple of 90 degrees about an axis moves voxels onto voxels: exact up to the rounding of the matrix
  (1e-6 of the values at side 16). Differentiable in both; where a sample falls onto a voxel's centre, the
  gradient by the rotation is that of the cell towards larger indices.

  Costs, with N voxels: 8 reads of rows of C numbers for each. The gradient by the volume is 8 N additions of
  rows at scattered places, which XLA:CPU makes one after the other on one core; that by the rotation is 8 N
  dot products of rows. About one axis `rotate_about_axis` gives the same without scattering.

  Args:
    volume: computed in float32, returned in its own type.
    rotation: orthonormal, `p' = R p` in (x, y, z) (`camera.rotation_matrix`, `camera.axis_angle_matrix`).
      With its rows multiplied by numbers, what is turned is then enlarged by their reciprocals along x, y, z.
    nearest: the nearest voxel instead of an interpolation (halves go to the even one). No gradient by the
      rotation.
  """
  batch, *size, channels = volume.shape
  centre = [(n - 1) / 2 for n in size]
  place = (np.indices(size).reshape(3, -1) - np.reshape(centre, (3, 1)))[::-1].astype(np.float32)  # x, y, z
  # A product, whose gradient XLA:CPU does not fuse with that of the weights, which it then takes nine times.
  source = jnp.einsum("bij,in->jbn", rotation.astype(jnp.float32), place, precision="highest")  # R^T p
  position = [p + c for p, c in zip(source[::-1], centre, strict=True)]
  index, weight = _nearest(position, size) if nearest else _corners(position, size)
  rows = volume.astype(jnp.float32).reshape(batch, -1, channels)
  sampled = _sample(rows, *jax.lax.optimization_barrier((index, weight)), None)
  return sampled.reshape(volume.shape).astype(volume.dtype)


def rotate_about_axis(
    volume: Float[Array, "B D H W C"], angle: Float[Array, " B"], axis: str = "y"
) -> Float[Array, "B D H W C"]:
  """Turns volumes about one axis through their centre.

  It is `rotate` by a right-handed rotation, with a faster gradient. All planes across the axis turn alike, so
  a plane's pixel carries a row of F numbers (the voxels along the axis times C) and is interpolated between
  4. The gradient by the volume needs no scattering either: the rotated pixels whose bilinear weights reach a
  pixel q lie within a square around `R q` of at most 2 sqrt(2) pixels a side, so 9 candidates, with their
  exact weights, hold them all.

  Costs, with M pixels to a plane: 4 M reads of rows, 9 M for the gradient by the volume, 4 M dot products of
  rows for that by the angle; all of them run in parallel and in any order. Two other forms were set aside: a
  product with the matrix of weights is exact, but takes M^2 F operations and M^2 numbers of memory; three
  shears are cheap, but interpolate three times, which is another and blurred result.

  Args:
    volume: computed in float32, returned in its own type.
    angle: radians. About y, the vertical, z turns towards x: the near side moves to the left (a view's `ry`).
    axis: "x" turns y towards z, "y" z towards x, "z" x towards y.
  """
  if axis not in PLANES:
    raise UserError(f'rotate_about_axis: axis must be "x", "y" or "z", not {axis!r}')
  order = (0, *PLANES[axis], 4)
  turned = jnp.transpose(volume.astype(jnp.float32), order)
  size = turned.shape[1:3]
  cosine, sine = (f(angle.astype(jnp.float32))[:, None, None] for f in (jnp.cos, jnp.sin))
  ahead = _turn_plane(cosine, -sine, size)  # R^T p
  index, weight = _corners([p.reshape(len(volume), -1) for p in ahead], size)
  back = _back_weights(cosine, sine, size)
  rows = turned.reshape(len(volume), size[0] * size[1], -1)
  # Two barriers: without a gradient nothing needs what is behind the second.
  index, weight = jax.lax.optimization_barrier((index, weight))
  sampled = _sample(rows, index, weight, jax.lax.optimization_barrier(back)).reshape(turned.shape)
  return jnp.transpose(sampled, np.argsort(order)).astype(volume.dtype)


def smoothed(volume: Float[Array, "B D H W C"]) -> Float[Array, "B D H W C"]:
  """Averages of neighbours along each axis, weights 1/4, 1/2, 1/4; beyond the rim its voxels are repeated.

  What changes from voxel to voxel does not survive an interpolation between them: it comes and goes with the
  turn, as stripes.
  """
  smooth = volume.astype(jnp.float32)
  for axis, products in ((1, "ij,bjhwc->bihwc"), (2, "ij,bdjwc->bdiwc"), (3, "ij,bdhjc->bdhic")):
    # a product: gradients of sums of padded copies take ten times as long on XLA:CPU (`benchmarks.volume`)
    smooth = jnp.einsum(products, _averages(volume.shape[axis]), smooth, precision="highest")
  return smooth.astype(volume.dtype)


def ray_sums(
    density: Float[ArrayLike, "B D H W"], angle: Float[ArrayLike, "B K"]
) -> Float[Array, "B K H W"]:
  """What rays meet in volumes turned about y: `rotate_about_axis`, summed over the depth, at K angles each.

  The turned volume is never made. The sum along the ray of column u is linear in a plane's pixels, with the
  weights `sum_d hat(z(d, u) - z') hat(x(d, u) - x')` for the pixel (z', x'): weights and sums are matrix
  products, and so are their gradients, by the density and by the angle. Nothing is read at scattered places
  (`python -m benchmarks.volume` compares it with turning and summing).
  """
  batch, depth, height, width = density.shape
  count = angle.shape[1]
  cosine, sine = (f(angle.astype(jnp.float32)).reshape(-1, 1, 1) for f in (jnp.cos, jnp.sin))
  z, x = _turn_plane(cosine, -sine, (depth, width))  # R^T p, [BK, D, W]
  places = [jnp.arange(n, dtype=jnp.float32)[None, None, None] for n in (depth, width)]
  hats = [
      jnp.maximum(1.0 - jnp.abs(position[..., None] - place), 0.0)
      for position, place in zip((z, x), places, strict=True)
  ]
  highest = jax.lax.Precision.HIGHEST
  weights = jnp.einsum("bdup,bduq->bupq", *hats, precision=highest)  # [BK, W, D, W]
  planes = jnp.swapaxes(density.astype(jnp.float32), 2, 3).reshape(batch, depth * width, height)
  sums = jnp.matmul(weights.reshape(batch, count * width, -1), planes, precision=highest)
  return jnp.swapaxes(sums.reshape(batch, count, width, height), 2, 3)


def cylinder_mask(depth: int, height: int, width: int) -> Float[np.ndarray, "D H W"]:
  """1 for voxels in the vertical cylinder inscribed in the outermost centres, else 0.

  What it leaves of a volume stays in it at every angle about y: no ray of the cylinder then ends at the
  volume's side.
  """
  z, x = np.ogrid[:depth, :width]
  radius = (min(depth, width) - 1) / 2
  inside = (z - (depth - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2 <= radius**2 + 1e-6
  return np.repeat(inside[:, None].astype(np.float32), height, axis=1)


def depth_to_channels(volume: Float[Array, "B D H W C"]) -> Float[Array, "B H W CD"]:
  """SSV's projection before its 1 x 1 layer: what a ray meets as its pixel's channels, number `c D + d`."""
  batch, depth, height, width, channels = volume.shape
  return jnp.moveaxis(volume, 1, -1).reshape(batch, height, width, channels * depth)


def silhouette(density: Float[Array, "B D H W"]) -> Float[Array, "B H W"]:
  """`1 - exp(-sum over the depth)`, in [0, 1] (PrGAN, arXiv 1612.05872); zero where the sum is negative."""
  return -jnp.expm1(-jnp.maximum(jnp.sum(density, axis=1), 0.0))


def emission_absorption(
    density: Float[Array, "B D H W"], emission: Float[Array, "B D H W C"]
) -> tuple[Float[Array, "B H W C"], Float[Array, "B H W"]]:
  """Light that voxels emit and nearer ones absorb (Max 1995).

  It gives the image, and opacity, which is `silhouette(density)`. `image = sum_d T_d (1 - exp(-density_d))
  emission_d`, with `T_d = exp(-sum of the densities nearer than d)`.

  Args:
    density: per voxel; negative ones count as zero.
    emission: any colour or feature; a background is added as `(1 - opacity) background`.
  """
  density = jnp.maximum(density, 0.0)
  # Not as a difference of sums: a dense voxel would swallow what is before it.
  nearer = jnp.cumsum(density[:, :-1], axis=1)
  passed = jnp.exp(-jnp.concatenate([jnp.zeros_like(density[:, :1]), nearer], axis=1))
  weight = passed * -jnp.expm1(-density)
  return jnp.sum(weight[..., None] * emission, axis=1), -jnp.expm1(-jnp.sum(density, axis=1))


def _averages(size: int) -> Float[np.ndarray, "N N"]:
  """Weights 1/4, 1/2 and 1/4 of the neighbours of each place, the outermost ones repeated."""
  before, middle, after = (np.clip(np.arange(size) + k, 0, size - 1) for k in (-1, 0, 1))
  rows = np.eye(size, dtype=np.float32)
  return 0.25 * rows[before] + 0.5 * rows[middle] + 0.25 * rows[after]


def _turn_plane(
    cosine: Float[Array, "B 1 1"], sine: Float[Array, "B 1 1"], size: tuple[int, ...]
) -> list[Float[Array, "B P Q"]]:
  """Where every pixel of a plane goes when the first axis turns towards the second, about the centre."""
  first, second = (jnp.arange(n, dtype=jnp.float32) - (n - 1) / 2 for n in size)
  first, second = first[None, :, None], second[None, None, :]
  turned = cosine * first - sine * second, sine * first + cosine * second
  return [p + (n - 1) / 2 for p, n in zip(turned, size, strict=True)]


def _back_weights(
    cosine: Float[Array, "B 1 1"], sine: Float[Array, "B 1 1"], size: tuple[int, ...]
) -> tuple[Int[Array, "9 B M"], Float[Array, "9 B M"]]:
  """For every pixel q of a plane 9 rotated pixels, among them all that read it, and their weights at it.

  Pixel p reads q where both coordinates of `R^T p - q` are within 1, hence those of `p - R q` within
  |cos| + |sin|: an open interval of at most 2.83, which holds at most 3 integers.
  """
  step = np.indices((3, 3), np.float32).reshape(2, 9, 1, 1, 1)
  reach = jnp.abs(cosine) + jnp.abs(sine)
  start = [jnp.floor(p - reach) + 1.0 for p in _turn_plane(cosine, sine, size)]
  pixel = [p[None] + k for p, k in zip(start, step, strict=True)]
  first, second = (p - (n - 1) / 2 for p, n in zip(pixel, size, strict=True))
  source = cosine[None] * first + sine[None] * second, cosine[None] * second - sine[None] * first  # R^T p
  target = np.ogrid[: size[0], : size[1]]
  hats = [
      jnp.maximum(1.0 - jnp.abs(s - (t[None, None] - (n - 1) / 2).astype(np.float32)), 0.0)
      for s, t, n in zip(source, target, size, strict=True)
  ]
  index, inside = _flat_index([p.astype(jnp.int32) for p in pixel], size)
  shape = (9, len(cosine), size[0] * size[1])
  return index.reshape(shape), (hats[0] * hats[1] * inside).reshape(shape)


def _corners(
    position: list[Float[Array, "B N"]], size: tuple[int, ...] | list[int]
) -> tuple[Int[Array, "K B N"], Float[Array, "K B N"]]:
  """The 2^n voxels around positions along n axes, and their weights, zero outside the volume."""
  corner = np.indices([2] * len(size)).reshape(len(size), -1, 1, 1)
  index, weights = [], []
  for p, n, k in zip(position, size, corner, strict=True):
    clipped = jnp.clip(p, -1.0, float(n))
    before = jnp.clip(jnp.floor(jax.lax.stop_gradient(clipped)), -1.0, n - 1.0)
    along = (clipped - before)[None]
    index.append(before.astype(jnp.int32)[None] + k)
    weights.append(jnp.where(k == 1, along, 1.0 - along))
  flat, inside = _flat_index(index, size)
  return flat, math.prod(weights) * inside


def _nearest(
    position: list[Float[Array, "B N"]], size: tuple[int, ...] | list[int]
) -> tuple[Int[Array, "1 B N"], Float[Array, "1 B N"]]:
  """Index of the voxel nearest to each position, and weight 1, or 0 outside the volume."""
  position = jax.lax.stop_gradient(position)
  rounded = [jnp.clip(jnp.round(p), -1.0, float(n)) for p, n in zip(position, size, strict=True)]
  return _flat_index([p.astype(jnp.int32)[None] for p in rounded], size)


def _flat_index(index: list[Int[Array, "..."]], size: tuple[int, ...] | list[int]) -> tuple[Array, Array]:
  """Row-major index, always in bounds, and 1.0 where the index was, else 0.0."""
  flat, inside = 0, True
  for i, n in zip(index, size, strict=True):
    flat = flat * n + jnp.clip(i, 0, n - 1)
    inside = (i >= 0) & (i < n) & inside
  return flat, inside.astype(jnp.float32)


# Written out backwards: differentiating the plain sum would keep all gathered rows, 8 copies of the volume.
# The written gradient can be differentiated again.


@jax.custom_vjp
def _sample(
    rows: Float[Array, "B M F"], index: Int[Array, "K B N"], weight: Float[Array, "K B N"],
    back: tuple[Int[Array, "J B M"], Float[Array, "J B M"]] | None,
) -> Float[Array, "B N F"]:
  """`sum_k weight_k rows[index_k]`. `back`: the same of the transposed map; None: the gradient scatters."""
  return sum(w[..., None] * _take(rows, i) for i, w in zip(index, weight, strict=True))


def _sample_forward(rows, index, weight, back):
  return _sample(rows, index, weight, back), (rows, index, weight, back)


def _sample_backward(residuals, cotangent):
  rows, index, weight, back = residuals
  by_weight = jnp.stack([jnp.sum(cotangent * _take(rows, i), axis=-1) for i in index])
  if back is not None:
    return _sample(cotangent, *back, (index, weight)), None, by_weight, None
  add = jax.vmap(lambda rows, index, values: rows.at[index].add(values, mode="promise_in_bounds"))

  def scatter(by_rows, corner):
    return add(by_rows, corner[0], corner[1][..., None] * cotangent), None

  # A loop, because eight scatters take XLA:CPU five seconds to compile.
  by_rows, _ = jax.lax.scan(scatter, jnp.zeros_like(rows), (index, weight))
  return by_rows, None, by_weight, None


_sample.defvjp(_sample_forward, _sample_backward)


def _take(rows: Float[Array, "B M F"], index: Int[Array, "B N"]) -> Float[Array, "B N F"]:
  return jax.vmap(lambda rows, index: rows.at[index].get(mode="promise_in_bounds"))(rows, index)
