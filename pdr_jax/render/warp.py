"""Sampling an image at arbitrary positions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

SNAP = 2.0**-12  # of a pixel: positions nearer to a pixel's centre are at it


def sample_bilinear(
  image: Float[ArrayLike, "... H W C"], uv: Float[ArrayLike, "... h w 2"]
) -> Float[Array, "... h w C"]:
  """Bilinear samples of `image` at pixel positions `uv`, zero outside the image.

  A position is (column, row), with pixel centres at integers. The image is surrounded by zeros: between the
  outermost centres and one pixel beyond, values fade linearly to zero. Differentiable in both (reverse mode);
  the gradient by `uv` is zero further out, and at a pixel centre it is that of the cell to the lower right.
  Positions within 1/4096 of a column or row of centres are on it.
  Leading axes of both must be equal. `uv` of any magnitude; where it is NaN, so is the sample.
  """
  return sample_bilinear_components(image, uv[..., 0], uv[..., 1])


def sample_bilinear_components(
    image: Float[ArrayLike, "... H W C"], u: Float[ArrayLike, "... h w"], v: Float[ArrayLike, "... h w"]
) -> Float[Array, "... h w C"]:
  """`sample_bilinear` with the columns and rows in separate arrays.

  There is no axis of two to build and take apart.
  """
  height, width, channels = image.shape[-3:]
  if u.shape != v.shape or u.shape[:-2] != image.shape[:-3]:
    raise ValueError(
      f"sample_bilinear: image {image.shape} and positions {u.shape}, {v.shape} need equal leading axes"
    )
  padded = jnp.pad(image, [(0, 0)] * (image.ndim - 3) + [(1, 1), (1, 1), (0, 0)])
  pixels = padded.reshape(-1, (height + 2) * (width + 2), channels)
  column, along_u = _cell(u, width)
  row, along_v = _cell(v, height)
  index = ((row + 1) * (width + 2) + column + 1).reshape(pixels.shape[0], -1)
  corners = (index, index + 1, index + (width + 2), index + (width + 3))
  return _interpolate(pixels, corners, along_u.reshape(index.shape), along_v.reshape(index.shape)).reshape(
    *u.shape, channels
  )


def _cell(position: Float[ArrayLike, "..."], size: int) -> tuple[Int[Array, "..."], Float[Array, "..."]]:
  """The last of the places -1, 0, ..., size - 1 that is not beyond a position, and how far beyond it that is.

  The latter is 0 to 1, with the gradient of the position; NaN, at place -1, where the position is NaN. What
  is beyond -1 or `size` is there. Positions nearer than `SNAP` to a place are at it: a compiled program may
  compute a position once for the place and again, rounded otherwise, for the rest. .99999994 and 1 would then
  give the place 0 and a rest of 0: a false sample. Whole positions, which are the usual ones that lie on such
  an edge (a picture that is not moved), are safe so up to column 2,048; those at `SNAP` from a place are not.
  """
  clipped = jnp.clip(position, -1.0, float(size))
  held = jax.lax.stop_gradient(clipped)
  nearest = jnp.round(held)
  snapped = jnp.where(jnp.abs(held - nearest) < SNAP, nearest, held)
  # The comparison is false for NaN: its index stays in bounds, which the gathers rely on.
  before = jnp.where(snapped >= -1.0, jnp.floor(snapped), -1.0)
  before = jnp.minimum(before, size - 1.0)  # position == size: end of the last cell
  return before.astype(jnp.int32), (snapped - before) + (clipped - held)


# Written out backwards: XLA fuses the derivative of the plain expression badly on CPUs (reductions over an
# axis of three, gathered values computed again), 4 times slower; and this keeps only the image and the
# positions for the backward pass, not the gathered corners.


@jax.custom_vjp
def _interpolate(
  pixels: Float[ArrayLike, "B P C"],
  corners: tuple[Int[ArrayLike, "B N"], ...],
  along_u: Float[ArrayLike, "B N"],
  along_v: Float[ArrayLike, "B N"],
) -> Float[Array, "B N C"]:
  """Bilinear mixture of the pixels at four corner indices.

  Upper left, upper right, lower left, lower right; all are in bounds.
  """
  upper_left, upper_right, lower_left, lower_right = _gather(pixels, corners)
  u, v = along_u[..., None], along_v[..., None]
  upper = upper_left + u * (upper_right - upper_left)
  lower = lower_left + u * (lower_right - lower_left)
  return upper + v * (lower - upper)


def _interpolate_forward(pixels, corners, along_u, along_v):
  return _interpolate(pixels, corners, along_u, along_v), (pixels, corners, along_u, along_v)


def _interpolate_backward(residuals, cotangent):
  pixels, corners, u, v = residuals
  upper_left, upper_right, lower_left, lower_right = _gather(pixels, corners)
  by_u, by_v = jnp.zeros_like(u), jnp.zeros_like(v)
  for channel in range(pixels.shape[-1]):
    ul, ur, ll, lr = (corner[..., channel] for corner in (upper_left, upper_right, lower_left, lower_right))
    by_u += cotangent[..., channel] * ((1 - v) * (ur - ul) + v * (lr - ll))
    by_v += cotangent[..., channel] * ((1 - u) * (ll - ul) + u * (lr - ur))
  by_pixels = jnp.zeros_like(pixels)
  scatter = jax.vmap(lambda image, index, values: image.at[index].add(values, mode="promise_in_bounds"))
  for index, weight in zip(corners, ((1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v), strict=True):
    by_pixels = scatter(by_pixels, index, weight[..., None] * cotangent)
  return by_pixels, (None,) * 4, by_u, by_v


_interpolate.defvjp(_interpolate_forward, _interpolate_backward)


def _gather(
  pixels: Float[ArrayLike, "B P C"], corners: tuple[Int[ArrayLike, "B N"], ...]
) -> list[Float[Array, "B N C"]]:
  take = jax.vmap(lambda image, index: image.at[index].get(mode="promise_in_bounds"))
  return [take(pixels, index) for index in corners]
