"""A ResNet-18-like encoder (He et al. 2016) with biases, whose last map is 3x3 and becomes a vector.

A convolution 5x5 of stride 2 and padding 3, max-pooling, and stages of two basic blocks whose widths double:
four stages for a side of 64, one more for each doubling of the side. Shortcuts that change the shape are
convolutions 1x1.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.networks.batch_norm import Norm
from pdr_jax.networks.blocks import ConvNorm, Vector, stages
from pdr_jax.networks.dcgan import Maps


class Encoder(nn.Module):
  """Pictures `[B,S,S,C]` to a vector `[B,size]` (see `blocks.Vector`); it has no maps for skips."""

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
    first = ConvNorm(self.width, "strided", 5, 2, 3, nn.relu, self.dtype, name="first")
    x = nn.max_pool(first(images, norm), (3, 3), (2, 2), ((1, 1), (1, 1)))
    for i in range(stages(self.side)):
      for j in range(2):
        stride = 2 if i > 0 and j == 0 else 1
        x = Block(self.width * 2**i, stride, self.dtype, name=f"stage{i}_{j}")(x, norm)
    vector = Vector(self.size, 3, self.unit_length, self.dtype, self.normalise, name="vector")
    return vector(x, norm), []


class Block(nn.Module):
  """Two convolutions 3x3, the first of `stride`, and the sum with their input."""

  features: int
  stride: int
  dtype: Any

  @nn.compact
  def __call__(self, x: Float[ArrayLike, "B H W C"], norm: Norm) -> Float[Array, "B _ _ _"]:
    if self.stride == 1:
      first = ConvNorm(self.features, "same", 3, rectify=nn.relu, dtype=self.dtype, name="first")
    else:
      first = ConvNorm(self.features, "strided", 3, self.stride, 1, nn.relu, self.dtype, name="first")
    second = ConvNorm(self.features, "same", 3, rectify=None, dtype=self.dtype, name="second")
    y = second(first(x, norm), norm)
    if self.stride > 1 or x.shape[-1] != self.features:
      x = ConvNorm(self.features, "strided", 1, self.stride, 0, None, self.dtype, name="shortcut")(x, norm)
    return nn.relu(x.astype(y.dtype) + y)
