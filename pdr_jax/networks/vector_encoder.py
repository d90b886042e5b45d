"""The light and view networks: an image to a few bounded numbers.

They are Unsup3D's `Encoder` (specification, section 1).
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.errors import UserError
from pdr_jax.networks.autoencoder import check_images, stage_widths
from pdr_jax.networks.layers import Conv


class VectorTrunk(nn.Module):
  """Images `[B,S,S,C]` to a ReLU bottleneck `[B, 8 width]` in `dtype`, without normalisation."""
  width: int
  side: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, images: Float[ArrayLike, "B S S C"]) -> Float[Array, "B D"]:
    check_images(images, self.side)
    x = images
    for i, features in enumerate(stage_widths(self.width, self.side)):
      x = nn.relu(Conv(features, "down", dtype=self.dtype, name=f"down{i}")(x))
    return nn.relu(Conv(8 * self.width, "to_point", dtype=self.dtype, name="bottleneck")(x))


class VectorEncoder(nn.Module):
  """Images to `outputs` numbers in (-1, 1).

  `side` is one of 32, 64, 128, 256, and `width` a multiple of 4 (UserError otherwise). `tanh_on` says what
  the tanh bounds: the `output`, as in Unsup3D, or the `features`, as in the released PDR code, whose outputs
  have no bound.
  """
  outputs: int
  width: int
  side: int
  dtype: Any = jnp.float32
  tanh_on: str = "output"

  def setup(self):
    if self.tanh_on not in ("output", "features"):
      raise UserError(f"tanh_on {self.tanh_on!r} is unknown; choose output or features")
    self.encoder = VectorTrunk(self.width, self.side, self.dtype)
    # float32 at any compute dtype: angles and light coefficients come from it
    self.head = Conv(self.outputs, "to_point", 1)

  def __call__(self, images: Float[ArrayLike, "B S S C"]) -> tuple[Float[Array, "B N"], Float[Array, "B D"]]:
    """Images in [-1, 1] to (vector, bottleneck), both float32; the bottleneck is >= 0."""
    z = self.encode(images)
    vector = self.head(z[:, None, None])
    return (jnp.tanh(vector) if self.tanh_on == "output" else vector), z

  def encode(self, images: Float[ArrayLike, "B S S C"]) -> Float[Array, "B D"]:
    """The bottleneck alone, float32."""
    z = self.encoder(images).astype(jnp.float32)
    return jnp.tanh(z) if self.tanh_on == "features" else z
