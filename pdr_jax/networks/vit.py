"""A small vision transformer on chosen patches of a picture, and a decoder to all of them.

Blocks are those of Dosovitskiy et al. 2021 (arXiv 2010.11929) with normalisation first, positions the fixed
sines and cosines of the released masked autoencoder (He et al. 2022, arXiv 2111.06377). Patches are counted
row by row.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Float32, Int

EPSILON = 1e-6  # of the layer normalisations
MLP_RATIO = 4  # hidden numbers of a block's perceptron, in widths


def to_patches(images: Float[ArrayLike, "B S S C"], patch: int) -> Float[Array, "B N P"]:
  """N = (S / patch)^2 patches of P = patch^2 C numbers, each in the order row, column, channel."""
  batch, side, _, channels = images.shape
  grid = side // patch
  blocks = jnp.asarray(images).reshape(batch, grid, patch, grid, patch, channels).transpose(0, 1, 3, 2, 4, 5)
  return blocks.reshape(batch, grid * grid, patch * patch * channels)


def to_images(patches: Float[ArrayLike, "B N P"], patch: int) -> Float[Array, "B S S C"]:
  """The inverse of `to_patches`."""
  batch, count, numbers = patches.shape
  grid = round(count**0.5)
  blocks = jnp.asarray(patches).reshape(batch, grid, grid, patch, patch, numbers // patch**2)
  return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, grid * patch, grid * patch, -1)


def positions(grid: int, width: int) -> Float32[np.ndarray, "N {width}"]:
  """Of grid x grid patches: sines and cosines of the column, then of the row.

  Their frequencies fall from 1 to 1/10,000 in a geometric series. `width` is a multiple of 4.
  """
  frequencies = 10_000.0 ** -(np.arange(width // 4) / (width / 4))
  rows, columns = np.divmod(np.arange(grid * grid), grid)
  angles = [place[:, None] * frequencies[None] for place in (columns, rows)]
  parts = [function(angle) for angle in angles for function in (np.sin, np.cos)]
  return np.concatenate(parts, axis=1).astype(np.float32)


class Block(nn.Module):
  """Self-attention, then a perceptron, each on normalised tokens and added to them."""

  heads: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, tokens: Float[ArrayLike, "B N W"]) -> Float[Array, "B N W"]:
    width, kernel = tokens.shape[-1], nn.initializers.xavier_uniform()
    normalized = nn.LayerNorm(EPSILON, dtype=self.dtype, name="attention_norm")(tokens)
    attention = nn.MultiHeadDotProductAttention(
      self.heads, dtype=self.dtype, kernel_init=kernel, name="attention"
    )
    tokens = tokens + attention(normalized)
    normalized = nn.LayerNorm(EPSILON, dtype=self.dtype, name="mlp_norm")(tokens)
    hidden = nn.Dense(MLP_RATIO * width, dtype=self.dtype, kernel_init=kernel, name="mlp_in")(normalized)
    return tokens + nn.Dense(width, dtype=self.dtype, kernel_init=kernel, name="mlp_out")(nn.gelu(hidden))


class Tower(nn.Module):
  """Blocks and a last normalisation."""

  depth: int
  heads: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, tokens: Float[ArrayLike, "B N W"]) -> Float[Array, "B N W"]:
    for i in range(self.depth):
      tokens = Block(self.heads, self.dtype, name=f"block{i}")(tokens)
    return nn.LayerNorm(EPSILON, dtype=self.dtype, name="norm")(tokens)


class PatchEncoder(nn.Module):
  """Some patches of a picture, with their places in its grid, to a vector of `size` for each.

  The vectors are non-negative, as the bottleneck of `MapEncoder`.
  """

  size: int
  width: int
  depth: int
  heads: int
  grid: int
  dtype: Any = jnp.float32

  def setup(self):
    self.embed = nn.Dense(self.width, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())
    self.tower = Tower(self.depth, self.heads, self.dtype)
    self.bottleneck = nn.Dense(self.size, dtype=self.dtype)

  def tokens(
    self, patches: Float[ArrayLike, "B N P"], places: Int[ArrayLike, "B N"]
  ) -> Float[Array, "B N W"]:
    """What the tower gives for each patch, before the bottleneck."""
    where = jnp.asarray(positions(self.grid, self.width), self.dtype)[places]
    return self.tower(self.embed(patches) + where)

  def __call__(
    self, patches: Float[ArrayLike, "B N P"], places: Int[ArrayLike, "B N"]
  ) -> Float[Array, "B N size"]:
    return nn.relu(self.bottleneck(self.tokens(patches, places)))


class PatchDecoder(nn.Module):
  """The vectors of the visible patches to `outputs` numbers for every patch of the grid, float32.

  A learned vector stands for each patch that is not visible.
  """

  outputs: int
  width: int
  depth: int
  heads: int
  grid: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, visible: Float[ArrayLike, "B M D"], order: Int[ArrayLike, "B N"]
  ) -> Float[Array, "B N outputs"]:
    """`order`: every place of the grid once, those of the visible patches first."""
    kernel = nn.initializers.xavier_uniform()
    embedded = nn.Dense(self.width, dtype=self.dtype, kernel_init=kernel, name="embed")(visible)
    hidden = self.param("hidden", nn.initializers.normal(0.02), (self.width,)).astype(self.dtype)
    batch, count = order.shape
    hidden = jnp.broadcast_to(hidden[None, None], (batch, count - visible.shape[1], self.width))
    back = jnp.argsort(order, axis=1)
    tokens = jnp.take_along_axis(jnp.concatenate([embedded, hidden], axis=1), back[..., None], axis=1)
    where = jnp.asarray(positions(self.grid, self.width), self.dtype)[None]
    tokens = Tower(self.depth, self.heads, self.dtype, name="tower")(tokens + where)
    return nn.Dense(self.outputs, kernel_init=kernel, name="head")(tokens)
