"""The depth and albedo networks: an encoder to one vector and a decoder to maps.

They are Unsup3D's `EDDeconv` (specification, section 1).
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.errors import UserError
from pdr_jax.networks.layers import Conv, GroupNorm

SIDES = (32, 64, 128, 256)


def stage_widths(width: int, side: int) -> tuple[int, ...]:
  """Widths of the stride-2 stages that take `side` to 4: `width` doubled at each stage, at most 8 times.

  UserError on what cannot be.
  """
  if side not in SIDES:
    raise UserError(
      f"side {side} is not supported by the networks; choose one of {', '.join(map(str, SIDES))}"
    )
  if width < 4 or width % 4:
    raise UserError(
      f"network width {width} must be a positive multiple of 4 "
      "(group normalisation works on groups of 4 channels)"
    )
  return tuple(width * min(2**i, 8) for i in range(side.bit_length() - 3))


def check_images(images: Float[ArrayLike, "..."], side: int) -> None:
  """UserError unless these are images, of any channels, of the side that the network was built for."""
  if images.ndim != 4 or images.shape[1:3] != (side, side):
    raise UserError(
      f"the network was built for images [B, {side}, {side}, C] but got {list(images.shape)}; check data.side"
    )


class MapEncoder(nn.Module):
  """Images `[B,S,S,C]` to a ReLU bottleneck `[B,zdim]` in `dtype`.

  All stages but the last have group normalisation; LeakyReLU has slope 0.2.
  """
  width: int
  zdim: int
  side: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images: Float[ArrayLike, "B S S C"]) -> Float[Array, "B zdim"]:
    check_images(images, self.side)
    widths = stage_widths(self.width, self.side)
    x = images
    for i, features in enumerate(widths):
      x = Conv(features, "down", dtype=self.dtype, name=f"down{i}")(x)
      if i < len(widths) - 1:
        x = GroupNorm(name=f"down{i}_norm")(x)
      x = nn.leaky_relu(x, 0.2)
    return nn.relu(Conv(self.zdim, "to_point", dtype=self.dtype, name="bottleneck")(x))


class MapDecoder(nn.Module):
  """Bottleneck `[B,zdim]` to raw maps `[B,S,S,channels]`, float32."""
  channels: int
  width: int
  side: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, z: Float[ArrayLike, "B zdim"]) -> Float[Array, "B S S C"]:
    widths = stage_widths(self.width, self.side)[::-1]

    def block(x, name, features, kind, size):
      x = Conv(features, kind, size, self.dtype, name=name)(x)
      return nn.relu(GroupNorm(name=f"{name}_norm")(x))

    x = nn.relu(Conv(widths[0], "from_point", dtype=self.dtype, name="expand")(z))
    x = nn.relu(Conv(widths[0], "same", 3, self.dtype, name="expand_conv")(x))
    for i, features in enumerate(widths[1:]):
      x = block(x, f"up{i}", features, "up", 4)
      x = block(x, f"up{i}_conv", features, "same", 3)
    x = block(x, "final0", self.width, "upsampled", 3)
    x = block(x, "final1", self.width, "same", 5)
    # The head is float32 at any compute dtype: bfloat16 steps in depth would show as several degrees in the
    # normals.
    return Conv(self.channels, "same", 5, name="head")(x)


class MapAutoencoder(nn.Module):
  """Images to `channels` maps through a `zdim` bottleneck, which is the feature kept for downstream tasks.

  `side` is one of 32, 64, 128, 256, `width` a multiple of 4 (UserError otherwise); `activation` is `none` or
  `tanh`, on the maps.
  """
  channels: int
  width: int
  zdim: int
  side: int
  activation: str = "none"
  dtype: Any = jnp.float32

  def setup(self):
    if self.activation not in ("none", "tanh"):
      raise UserError(f"map activation {self.activation!r} is unknown; choose none or tanh")
    self.encoder = MapEncoder(self.width, self.zdim, self.side, self.dtype)
    self.decoder = MapDecoder(self.channels, self.width, self.side, self.dtype)

  def __call__(
    self, images: Float[ArrayLike, "B S S C"]
  ) -> tuple[Float[Array, "B S S maps"], Float[Array, "B zdim"]]:
    """Images in [-1, 1] to (maps, bottleneck), both float32.

    Maps are in (-1, 1) with tanh and unbounded without; the bottleneck is >= 0.
    """
    z = self.encoder(images)
    maps = self.decoder(z)
    return (jnp.tanh(maps) if self.activation == "tanh" else maps), z.astype(jnp.float32)

  def encode(self, images: Float[ArrayLike, "B S S C"]) -> Float[Array, "B zdim"]:
    """The bottleneck alone, float32."""
    return self.encoder(images).astype(jnp.float32)
