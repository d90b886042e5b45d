"""Layers with equalised learning rates, and what style-based generators do between them.

Weights are stored as draws of N(0, 1) and multiplied by `sqrt(2 / fan_in)` when they are used (Karras et al.
2018, "Progressive growing of GANs", section 4.1): Adam's steps are then as large, relative to the weights,
in every layer. Everything here can be differentiated again: convolutions in the plane are XLA's own, which
are as fast as `convolution.convolve` with the maps of a critic, and faster in the gradient of a gradient.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

NORM_EPSILON, PIXEL_EPSILON = 1e-5, 1e-8
SLOPE = 0.2  # of the leaky rectifiers


def activate(x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
  """Leaky rectifier."""
  return nn.leaky_relu(x, SLOPE)


def conv_plane(
  x: Float[ArrayLike, "B H W I"], kernel: Float[ArrayLike, "3 3 I O"]
) -> Float[Array, "B H W O"]:
  """Stride-1 convolution with one zero on every side."""
  return lax.conv_general_dilated(
    x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def conv_space(
  x: Float[ArrayLike, "B D H W I"], kernel: Float[ArrayLike, "3 3 3 I O"]
) -> Float[Array, "B D H W O"]:
  """Stride-1 convolution with one zero on every side, as one in the plane.

  On XLA:CPU forward pass and gradients take half and two thirds of the time of its own convolution in space.
  Three planes are put side by side where there are fewest channels: a plane's own and its two neighbours' at
  the input, or what a plane adds to itself and to them at the output.
  """
  _, depth, height, width, channels = x.shape
  outputs, along = kernel.shape[-1], ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0))
  if outputs < channels:
    taps = jnp.moveaxis(kernel, 0, 3).reshape(3, 3, channels, 3 * outputs)
    added = conv_plane(x.reshape(-1, height, width, channels), taps)
    parts = jnp.split(added.reshape(*x.shape[:-1], 3 * outputs), 3, axis=-1)
    return parts[1] + jnp.pad(parts[0], along)[:, :depth] + jnp.pad(parts[2], along)[:, 2:]
  padded = jnp.pad(x, along)
  planes = jnp.concatenate([padded[:, k : k + depth] for k in range(3)], axis=-1)
  taps = jnp.moveaxis(kernel, 0, 2).reshape(3, 3, 3 * channels, outputs)
  return conv_plane(planes.reshape(-1, height, width, 3 * channels), taps).reshape(*x.shape[:-1], -1)


class Equalised(nn.Module):
  """With a bias: a linear layer (`axes` 0), or a convolution 3 x 3 or 3 x 3 x 3 (`axes` 2 and 3)."""

  features: int
  axes: int = 0
  start: float = 0.0  # of the first half of the biases; the others are zero

  @nn.compact
  def __call__(self, x: Float[ArrayLike, "*B I"]) -> Float[Array, "*B O"]:
    shape = (3,) * self.axes + (x.shape[-1], self.features)
    kernel = self.param("kernel", nn.initializers.normal(1.0), shape)
    bias = self.param("bias", self._bias, (self.features,))
    kernel = kernel * math.sqrt(2 / math.prod(shape[:-1]))
    y = (jnp.matmul, None, conv_plane, conv_space)[self.axes](x, kernel)
    return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))

  def _bias(self, key: Array, shape: tuple[int, ...]) -> Float[Array, " O"]:
    return jnp.where(jnp.arange(shape[0]) < shape[0] // 2, self.start, 0.0).astype(jnp.float32)


def instance_norm(x: Float[ArrayLike, "B *S C"]) -> Float[Array, "B *S C"]:
  """Every channel of every example with mean 0 and variance 1 over its pixels or voxels."""
  axes = tuple(range(1, x.ndim - 1))
  centred = x - x.mean(axis=axes, keepdims=True)
  return centred * lax.rsqrt(jnp.square(centred).mean(axis=axes, keepdims=True) + NORM_EPSILON)


def pixel_norm(x: Float[ArrayLike, "*B C"]) -> Float[Array, "*B C"]:
  """Mean square 1 over the channels."""
  return x * lax.rsqrt(jnp.square(x).mean(axis=-1, keepdims=True) + PIXEL_EPSILON)


class AdaIN(nn.Module):
  """Instance normalisation whose scale and shift are linear in a style (Huang and Belongie 2017)."""

  @nn.compact
  def __call__(self, x: Float[ArrayLike, "B *S C"], style: Float[ArrayLike, "B D"]) -> Float[Array, "B *S C"]:
    scale, shift = jnp.split(Equalised(2 * x.shape[-1], start=1.0, name="style")(style), 2, axis=-1)
    shape = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])
    return instance_norm(x) * scale.reshape(shape) + shift.reshape(shape)


class Mapping(nn.Module):
  """Codes to styles of the same size: pixel normalisation and `layers` linear layers."""

  layers: int = 8

  @nn.compact
  def __call__(self, code: Float[ArrayLike, "B D"]) -> Float[Array, "B D"]:
    x = pixel_norm(code)
    for i in range(self.layers):
      x = activate(Equalised(code.shape[-1], name=f"layer{i}")(x))
    return x


def doubled(x: Float[ArrayLike, "B *S C"]) -> Float[Array, "B *s C"]:
  """Twice the pixels or voxels along each axis, by linear interpolation at a quarter and three quarters.

  Values stay constant beyond the outermost centres (PyTorch's `interpolate`, `align_corners=False`).
  """
  for axis in range(1, x.ndim - 1):
    x = _doubled_along(x, axis)
  return x


# The gradient is written out: JAX's own is a sum of padded copies for each axis, twice as slow on XLA:CPU.


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _doubled_along(x: Float[ArrayLike, "B *S C"], axis: int) -> Float[Array, "B *s C"]:
  first, last = _shifted_up(x, x, axis), _shifted_down(x, x, axis)
  pairs = jnp.stack([0.75 * x + 0.25 * first, 0.75 * x + 0.25 * last], axis=axis + 1)
  return pairs.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])


def _shifted_up(x: Array, rim: Array, axis: int) -> Array:
  """`x` one place further along an axis; at the first place that of `rim`."""
  size = x.shape[axis]
  return jnp.concatenate(
    [lax.slice_in_dim(rim, 0, 1, axis=axis), lax.slice_in_dim(x, 0, size - 1, axis=axis)], axis=axis
  )


def _shifted_down(x: Array, rim: Array, axis: int) -> Array:
  """`x` one place back; at the last place that of `rim`."""
  size = x.shape[axis]
  return jnp.concatenate(
    [lax.slice_in_dim(x, 1, size, axis=axis), lax.slice_in_dim(rim, size - 1, size, axis=axis)], axis=axis
  )


def _doubled_backward(axis: int, _: None, cotangent: ArrayLike) -> tuple[Array]:
  shape = cotangent.shape
  pairs = cotangent.reshape(*shape[:axis], shape[axis] // 2, 2, *shape[axis + 1 :])
  even, odd = (lax.index_in_dim(pairs, k, axis + 1, keepdims=False) for k in (0, 1))
  beside = _shifted_down(even, odd, axis) + _shifted_up(odd, even, axis)
  return (0.75 * (even + odd) + 0.25 * beside,)


_doubled_along.defvjp(lambda x, axis: (_doubled_along(x, axis), None), _doubled_backward)


def halved(x: Float[ArrayLike, "B H W C"]) -> Float[Array, "B h w C"]:
  """The mean of each 2 x 2 block of pixels, which is bilinear interpolation at half the side."""
  batch, height, width, channels = x.shape
  return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def batch_deviation(x: Float[ArrayLike, "B ..."], axis_name: str | None = None) -> Float[Array, ""]:
  """The standard deviation over the global batch, averaged over everything else.

  A critic that sees it tells a batch of pictures that are too much alike (Karras et al. 2018, section 3).
  """

  def mean(values):
    of_device = values.mean(axis=0)
    return of_device if axis_name is None else jax.lax.pmean(of_device, axis_name)

  return jnp.sqrt(mean(jnp.square(x - mean(x)[None])) + PIXEL_EPSILON).mean()
