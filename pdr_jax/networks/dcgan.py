"""DCGAN's encoder and decoder (Radford et al. 2016) with biases, batch normalisation and leaky rectifiers.

Convolutions 4x4 of stride 2 halve the side down to 4; the widths double up to eight times the first. The
decoder mirrors that; with skip connections it reads the encoder's maps, which its user hands over.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.networks.batch_norm import Norm
from pdr_jax.networks.blocks import Conv, ConvNorm, Vector, concatenate, stages

Maps = list[Float[Array, "B _ _ _"]]


def widths(width: int, side: int) -> tuple[int, ...]:
  """Of the stages: 64, 128, 256, 512 for a width of 64 and a side of 64; 512 again for 128."""
  return tuple(width * min(2**i, 8) for i in range(stages(side)))


class Encoder(nn.Module):
  """Pictures `[B,S,S,C]` to a vector `[B,size]` (see `blocks.Vector`) and each stage's map."""

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
    for i, features in enumerate(widths(self.width, self.side)):
      x = ConvNorm(features, "down", dtype=self.dtype, name=f"down{i}")(x, norm)
      maps.append(x)
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
    features = widths(self.width, self.side)
    x = ConvNorm(features[-1], "from_point", dtype=self.dtype, name="start")(vector, norm)
    for i in reversed(range(1, len(features))):
      x = concatenate(x, skips[i] if skips else None)
      x = ConvNorm(features[i - 1], "up", dtype=self.dtype, name=f"up{i}")(x, norm)
    x = concatenate(x, skips[0] if skips else None)
    return Conv(self.channels, "up", dtype=self.dtype, name="up0")(x).astype(jnp.float32)
