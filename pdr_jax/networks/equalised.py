"""Layers with equalised learning rates, and what style-based generators do between them.

Weights are stored as draws of N(0, 1) and multiplied by `sqrt(2 / fan_in)` when they are used (Karras et al.
2018, "Progressive growing of GANs", section 4.1): Adam's steps are then as large, relative to the weights,
in every layer. Everything here can be differentiated again: convolutions in the plane are XLA's own, which
are as fast as `convolution.convolve` with the maps of a critic, and faster in the gradient of a gradient.
"""

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

  Each plane has its own channels and those of its two neighbours: on XLA:CPU forward pass and gradients take
  half and two thirds of the time of its own convolution in space.
  """
  _, depth, height, width, channels = x.shape
  padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
  planes = jnp.concatenate([padded[:, k : k + depth] for k in range(3)], axis=-1)
  taps = jnp.moveaxis(kernel, 0, 2).reshape(3, 3, 3 * channels, -1)
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
    edges = [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)]
    padded, size = jnp.pad(x, edges, mode="edge"), x.shape[axis]
    before, after = (lax.slice_in_dim(padded, k, k + size, axis=axis) for k in (0, 2))
    pairs = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1)
    x = pairs.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
  return x


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
