"""Layers that the backbones for video share: convolutions with a bias, each with batch normalisation."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.networks.batch_norm import BatchNorm, Norm
from pdr_jax.networks.layers import OPERATORS

INIT = nn.initializers.normal(0.02)


def leaky(x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
  """The rectifier of slope 0.2."""
  return nn.leaky_relu(x, 0.2)


class Conv(nn.Module):
  """A convolution with a bias: `kernel [size, size, in, features]` from N(0, 0.02), `bias` zero.

  `kind` is one of `layers.OPERATORS`, or `strided`, a convolution of any `size`, `stride` and `padding`.
  """

  features: int
  kind: str
  size: int = 4
  stride: int = 1
  padding: int = 0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[ArrayLike, "B ..."]) -> Float[Array, "B ..."]:
    shape = (self.size, self.size, x.shape[-1], self.features)
    kernel = self.param("kernel", INIT, shape).astype(self.dtype)
    bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
    x = x.astype(self.dtype)
    if self.kind == "strided":
      y = _strided(x, kernel, self.stride, self.padding)
    else:
      y = OPERATORS[self.kind](x, kernel)
    return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


def _strided(x: ArrayLike, kernel: ArrayLike, stride: int, padding: int) -> Array:
  if kernel.shape[0] == 1:  # a product with every `stride`-th pixel
    return x[:, ::stride, ::stride] @ kernel[0, 0]
  edges = ((padding, padding), (padding, padding))
  return lax.conv_general_dilated(
    x, kernel, (stride, stride), edges, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


class ConvNorm(nn.Module):
  """A convolution, batch normalisation, and a rectifier (none where it is None)."""

  features: int
  kind: str
  size: int = 4
  stride: int = 1
  padding: int = 0
  rectify: Callable | None = leaky
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[ArrayLike, "B ..."], norm: Norm) -> Float[Array, "B ..."]:
    conv = Conv(self.features, self.kind, self.size, self.stride, self.padding, self.dtype, name="conv")
    y = BatchNorm(name="norm")(conv(x), norm)
    return y if self.rectify is None else self.rectify(y)


class Vector(nn.Module):
  """A map `[B,k,k,C]` to a vector `[B,size]` in (-1, 1), float32: a convolution over the whole map, batch
  normalisation (not without `normalise`), tanh.

  With `unit_length` the vector is scaled to length 1.
  """

  size: int
  kernel: int
  unit_length: bool
  dtype: Any = jnp.float32
  normalise: bool = True

  @nn.compact
  def __call__(self, x: Float[ArrayLike, "B k k C"], norm: Norm) -> Float[Array, "B D"]:
    if self.normalise:
      layer = ConvNorm(self.size, "to_point", self.kernel, rectify=jnp.tanh, dtype=self.dtype, name="layer")
      vector = layer(x, norm).astype(jnp.float32)
    else:
      vector = Conv(self.size, "to_point", self.kernel, dtype=self.dtype, name="layer")(x)
      vector = jnp.tanh(vector.astype(jnp.float32))
    return unit(vector) if self.unit_length else vector


def unit(vectors: Float[ArrayLike, "*B D"]) -> Float[Array, "*B D"]:
  """Vectors scaled to length 1; one of zeros stays, and has a finite gradient."""
  square = jnp.square(vectors).sum(axis=-1, keepdims=True)
  return vectors * lax.rsqrt(jnp.maximum(square, 1e-12))


def concatenate(x: Float[ArrayLike, "B H W C"], skip: Float[ArrayLike, "B H W D"] | None) -> Array:
  """The map with that of a skip connection behind it; the map alone where there is none."""
  return x if skip is None else jnp.concatenate([x, skip.astype(x.dtype)], axis=-1)


def stages(side: int) -> int:
  """How often `side`, a power of two from 16, is halved down to 4."""
  return side.bit_length() - 3
