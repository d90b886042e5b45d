"""A VGG-like encoder and its mirror image, with skip connections between maps of the same side.

Blocks of two or three convolutions 3x3 with batch normalisation and leaky rectifiers; sides are halved by
max-pooling and doubled by repeating pixels.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.networks.batch_norm import Norm
from pdr_jax.networks.blocks import Conv, ConvNorm, Vector, concatenate
from pdr_jax.networks.dcgan import Maps, widths

SHALLOW = 2  # the first so many blocks have two layers, the others three


def encoder_widths(width: int, side: int) -> list[list[int]]:
  """Of the layers of each block: 64 64, 128 128, 256 x 3, 512 x 3 for a width of 64 and a side of 64."""
  return [[features] * (2 if i < SHALLOW else 3) for i, features in enumerate(widths(width, side))]


def decoder_widths(width: int, side: int) -> list[list[int]]:
  """Of the layers of each block with normalisation, from fine to coarse; the last narrows to the next block.

  The finest block has one layer fewer: the convolution to pixels takes its place.
  """
  blocks = encoder_widths(width, side)
  return [blocks[0][:-1], *([*blocks[i][:-1], blocks[i - 1][0]] for i in range(1, len(blocks)))]


class Encoder(nn.Module):
  """Pictures `[B,S,S,C]` to a vector `[B,size]` (see `blocks.Vector`) and each block's map."""

  size: int
  width: int
  side: int
  unit_length: bool = False
  dtype: Any = jnp.float32
  normalise: bool = True  # the vector

  @nn.compact
  def __call__(
    self, images: Float[ArrayLike, "B S S C"], norm: Norm
  ) -> tuple[Float[Array, "B D"], Maps]:
    x, maps = images, []
    for i, block in enumerate(encoder_widths(self.width, self.side)):
      for j, features in enumerate(block):
        x = ConvNorm(features, "same", 3, dtype=self.dtype, name=f"block{i}_{j}")(x, norm)
      maps.append(x)
      x = halve(x)
    vector = Vector(self.size, 4, self.unit_length, self.dtype, self.normalise, name="vector")
    return vector(x, norm), maps


class Decoder(nn.Module):
  """A vector `[B,D]`, with the maps of an `Encoder` (none: no skips), to the logits of pictures in (0, 1)."""

  channels: int
  width: int
  side: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, vector: Float[ArrayLike, "B D"], skips: Sequence[Array], norm: Norm
  ) -> Float[Array, "B S S C"]:
    blocks = decoder_widths(self.width, self.side)
    top = widths(self.width, self.side)[-1]
    x = ConvNorm(top, "from_point", dtype=self.dtype, name="start")(vector, norm)
    for i in reversed(range(len(blocks))):
      x = concatenate(double(x), skips[i] if skips else None)
      for j, features in enumerate(blocks[i]):
        x = ConvNorm(features, "same", 3, dtype=self.dtype, name=f"block{i}_{j}")(x, norm)
    return Conv(self.channels, "same", 3, dtype=self.dtype, name="pixels")(x).astype(jnp.float32)


def halve(x: Float[ArrayLike, "B H W C"]) -> Float[Array, "B H//2 W//2 C"]:
  """The maximum of each 2x2 block of pixels."""
  batch, height, width, channels = x.shape
  return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def double(x: Float[ArrayLike, "B H W C"]) -> Float[Array, "B 2*H 2*W C"]:
  """Each pixel as a 2x2 block."""
  return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
