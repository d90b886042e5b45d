"""Convolutions and group normalisation as the networks of section 1 of the specification use them.

Channels-last, no biases. Kernels are stored `[kh, kw, in, out]`; PyTorch's `Conv2d` weight `[out, in, kh,
kw]` maps with `transpose(2, 3, 1, 0)`, its `ConvTranspose2d` weight `[in, out, kh, kw]` with `transpose(2, 3,
0, 1)`, nothing is flipped. Strided and transposed convolutions are written as stride-1 convolutions over
regrouped pixels: the same operator, but its gradients are plain convolutions too, where XLA would otherwise
emit slow dilated ones.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.networks.convolution import convolve


def torch_uniform(fan_in: int):
  """PyTorch's default initialiser for convolutions: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).

  Its variance is 1 / (3 fan_in).
  """
  bound = 1.0 / math.sqrt(fan_in)
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


def _few(height: int, width: int) -> bool:
  """Whether a map has so few pixels that its wide kernels are the larger operand: then a product with
  patches, which takes a kernel as it is stored, is faster than a convolution, for which XLA:CPU lays the
  kernel out anew in every step.
  """
  return height * width <= 16


def _patches(x: Float[ArrayLike, "B H W I"], size: int, stride: int) -> Float[Array, "B h w {size}*{size}*I"]:
  """The windows of an input that is padded already, in the order of a kernel's rows, columns and channels."""
  def count(length):
    return stride * ((length - size) // stride) + 1
  starts = [(i, j) for i in range(size) for j in range(size)]
  return jnp.concatenate(
    [x[:, i : i + count(x.shape[1]) : stride, j : j + count(x.shape[2]) : stride] for i, j in starts], axis=-1
  )


def _over_patches(x: ArrayLike, kernel: ArrayLike, stride: int, padding: int) -> Array:
  patches = _patches(
    jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0))), kernel.shape[0], stride
  )
  return patches @ kernel.reshape(patches.shape[-1], -1)


def conv_same(x: Float[ArrayLike, "B H W I"], kernel: Float[ArrayLike, "k k I O"]) -> Float[Array, "B H W O"]:
  """Stride-1 convolution of odd kernel size k, zero padding k // 2."""
  return (
    _over_patches(x, kernel, 1, kernel.shape[0] // 2)
    if _few(*x.shape[1:3])
    else convolve(x, kernel, kernel.shape[0] // 2)
  )


def conv_down(
  x: Float[ArrayLike, "B H W I"], kernel: Float[ArrayLike, "4 4 I O"]
) -> Float[Array, "B H//2 W//2 O"]:
  """Convolution 4x4, stride 2, padding 1: a 2x2 convolution over 2x2 blocks of pixels. H and W are even."""
  batch, height, width, channels = x.shape
  if _few(height // 2, width // 2):
    return _over_patches(x, kernel, 2, 1)
  rows, columns = height // 2 + 1, width // 2 + 1
  blocks = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(batch, rows, 2, columns, 2, channels)
  blocks = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, 4 * channels)
  taps = kernel.reshape(2, 2, 2, 2, channels, -1).transpose(0, 2, 1, 3, 4, 5).reshape(2, 2, 4 * channels, -1)
  return convolve(blocks, taps, 0)


def _four_phases(x: ArrayLike, taps: ArrayLike) -> Array:
  """`[B,H,W,I]` and `[4,4,I,O]` to `[B,2H,2W,O]`: output row 2m + a is the sum over t of input row m + a + t
  - 1 times tap row 2t + a.

  Columns alike. One 2x2 convolution over the padded input yields a 2x2 block of outputs at each of its
  (H+1)(W+1) places: place p has the output rows 2p - 1 (a = 1, of m = p - 1) and 2p (a = 0), so the blocks
  are laid out and the outermost ring is cut off. The convolution and both its gradients have stride 1 and no
  dilation.
  """
  batch, height, width, channels = x.shape
  out = taps.shape[-1]
  # [tap row, phase of the row, tap column, phase of the column, I, O]
  taps = taps.reshape(2, 2, 2, 2, channels, out)
  if _few(height, width):
    patches = _patches(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 2, 1)
    taps = taps.transpose(1, 3, 0, 2, 4, 5).reshape(2, 2, 4 * channels, out)
    rows = [
      jnp.stack([patches[:, a : a + height, b : b + width] @ taps[a, b] for b in (0, 1)], axis=3)
      for a in (0, 1)
    ]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, out)
  taps = taps[:, ::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, channels, 4 * out)
  # Padded by hand: XLA:CPU takes the gradient of an input that the convolution pads four times longer (64
  # channels at 32x32).
  blocks = convolve(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), taps, 0).reshape(
    batch, height + 1, width + 1, 2, 2, out
  )
  return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height + 2, 2 * width + 2, out)[:, 1:-1, 1:-1]


def conv_up(
  x: Float[ArrayLike, "B H W I"], kernel: Float[ArrayLike, "4 4 I O"]
) -> Float[Array, "B 2*H 2*W O"]:
  """Transposed convolution 4x4, stride 2, padding 1, in four phases.

  It is PyTorch's `ConvTranspose2d(I, O, 4, 2, 1)`. Output row 2m sees input rows (m-1, m) through kernel rows
  (3, 1), row 2m+1 sees (m, m+1) through (2, 0).
  """
  return _four_phases(x, kernel[::-1, ::-1])


def conv_upsampled(
  x: Float[ArrayLike, "B H W I"], kernel: Float[ArrayLike, "3 3 I O"]
) -> Float[Array, "B 2*H 2*W O"]:
  """Nearest-neighbour upsampling by 2, then a 3x3 convolution with padding 1, in four phases: 16 products per
  pixel of x, not 36.

  Output row 2m sees input rows (m-1, m) through kernel rows (0, 1+2), row 2m+1 sees (m, m+1) through (0+1,
  2).
  """
  rows = jnp.stack([kernel[0], kernel[0] + kernel[1], kernel[1] + kernel[2], kernel[2]])
  return _four_phases(
    x, jnp.stack([rows[:, 0], rows[:, 0] + rows[:, 1], rows[:, 1] + rows[:, 2], rows[:, 2]], axis=1)
  )


def conv_to_point(x: Float[ArrayLike, "B k k I"], kernel: Float[ArrayLike, "k k I O"]) -> Float[Array, "B O"]:
  """Convolution without padding whose kernel covers the whole input: a matrix product."""
  return jnp.matmul(x.reshape(x.shape[0], -1), kernel.reshape(-1, kernel.shape[-1]))


def conv_from_point(
  x: Float[ArrayLike, "B I"], kernel: Float[ArrayLike, "k k I O"]
) -> Float[Array, "B k k O"]:
  """Transposed convolution of a single pixel, `ConvTranspose2d(I, O, k, 1, 0)` on 1x1: a matrix product."""
  rows, columns, channels, out = kernel.shape
  weights = kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
  return jnp.matmul(x, weights).reshape(-1, rows, columns, out)


def group_norm(
  x: Float[ArrayLike, "B H W C"],
  scale: Float[ArrayLike, " C"],
  bias: Float[ArrayLike, " C"],
  group_size: int = 4,
  epsilon: float = 1e-5,
) -> Float[Array, "B H W C"]:
  """Group normalisation over the pixels and `group_size` neighbouring channels.

  It is as PyTorch's `GroupNorm(C // group_size, C)`. Statistics and the affine map are float32, the result
  has the dtype of x. Per-channel sums are combined into groups afterwards, so that the image-sized work is
  one pass that reads and one that writes.
  """
  batch, channels = x.shape[0], x.shape[-1]
  values = x.astype(jnp.float32)
  moments = jnp.stack([values.mean(axis=(1, 2)), (values * values).mean(axis=(1, 2))])  # [2, B, C]
  moments = moments.reshape(2, batch, channels // group_size, group_size).mean(axis=-1)
  mean, square = moments
  inverse = lax.rsqrt(jnp.maximum(square - mean * mean, 0.0) + epsilon)
  gain = jnp.repeat(inverse, group_size, axis=1) * scale[None]
  offset = bias[None] - jnp.repeat(mean, group_size, axis=1) * gain
  return (values * gain[:, None, None] + offset[:, None, None]).astype(x.dtype)


OPERATORS = dict(
  same=conv_same,
  down=conv_down,
  up=conv_up,
  to_point=conv_to_point,
  from_point=conv_from_point,
  upsampled=conv_upsampled,
)


class Conv(nn.Module):
  """A convolution without bias.

  `kind`, with its `size`: same (stride 1, odd), down, up (stride 2, 4), to_point, from_point (4), upsampled
  (nearest x2 and then stride 1, 3).

  Parameter: `kernel [size, size, in, features]`, float32; the computation and the result are in `dtype`.
  """
  features: int
  kind: str = "same"
  size: int = 4
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
    channels = x.shape[-1]
    # PyTorch reads a transposed convolution's weight [in, out, k, k] as if it were [out, in, k, k], so its
    # "fan in" counts the outputs.
    fan_in = (self.features if self.kind in ("up", "from_point") else channels) * self.size**2
    kernel = self.param("kernel", torch_uniform(fan_in), (self.size, self.size, channels, self.features))
    return OPERATORS[self.kind](x.astype(self.dtype), kernel.astype(self.dtype))


class GroupNorm(nn.Module):
  """`group_norm` with learned `scale` (ones) and `bias` (zeros), both `[C]` float32."""
  group_size: int = 4

  @nn.compact
  def __call__(self, x: Float[ArrayLike, "B H W C"]) -> Float[Array, "B H W C"]:
    channels = x.shape[-1]
    scale = self.param("scale", nn.initializers.ones, (channels,))
    bias = self.param("bias", nn.initializers.zeros, (channels,))
    return group_norm(x, scale, bias, self.group_size)
