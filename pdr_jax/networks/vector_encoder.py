"""The light and view networks: an image to a few bounded numbers (Unsup3D's `Encoder`; specification, section 1)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from pdr_jax.networks.autoencoder import check_images, stage_widths
from pdr_jax.networks.layers import Conv


class VectorTrunk(nn.Module):
  """Images `[B,S,S,3]` to a ReLU bottleneck `[B, 8 width]` in `dtype`, without normalisation."""
  width: int
  side: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images: Float[Array, "B S S 3"]) -> Float[Array, "B D"]:
    check_images(images, self.side)
    x = images
    for i, features in enumerate(stage_widths(self.width, self.side)):
      x = nn.relu(Conv(features, "down", dtype=self.dtype, name=f"down{i}")(x))
    return nn.relu(Conv(8 * self.width, "to_point", dtype=self.dtype, name="bottleneck")(x))


class VectorEncoder(nn.Module):
  """Images to `outputs` numbers in (-1, 1); `side` one of 32, 64, 128, 256, `width` a multiple of 4 (UserError otherwise)."""
  outputs: int
  width: int
  side: int
  dtype: Any = jnp.float32

  def setup(self):
    self.encoder = VectorTrunk(self.width, self.side, self.dtype)
    self.head = Conv(self.outputs, "to_point", 1)  # float32 at any compute dtype: angles and light coefficients come from it

  def __call__(self, images: Float[Array, "B S S 3"]) -> tuple[Float[Array, "B N"], Float[Array, "B D"]]:
    """Images in [-1, 1] to (vector, bottleneck), both float32; the vector went through tanh, the bottleneck is >= 0."""
    z = self.encoder(images).astype(jnp.float32)
    return jnp.tanh(self.head(z[:, None, None])), z

  def encode(self, images: Float[Array, "B S S 3"]) -> Float[Array, "B D"]:
    """The bottleneck alone, float32."""
    return self.encoder(images).astype(jnp.float32)
