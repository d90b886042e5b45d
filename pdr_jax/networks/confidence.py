"""The confidence network: how far each pixel, and each perceptual feature, is expected to be off.

It is Unsup3D's `ConfNet`.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.networks.autoencoder import MapEncoder, stage_widths
from pdr_jax.networks.layers import Conv, GroupNorm


class ConfidenceNet(nn.Module):
  """Images to positive scales `(pixel [B,S,S,2], feature [B,S/4,S/4,2])`, float32.

  The two channels are for the (original, mirrored) scene. A large value means a tolerated error. `side` one
  of 32, 64, 128, 256, `width` a multiple of 4 (UserError otherwise).
  """
  width: int
  zdim: int
  side: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, images: Float[ArrayLike, "B S S 3"]
  ) -> tuple[Float[Array, "B S S 2"], Float[Array, "B S//4 S//4 2"]]:
    widths = stage_widths(self.width, self.side)[::-1] + (self.width,)
    z = MapEncoder(self.width, self.zdim, self.side, self.dtype, name="encoder")(images)
    x = nn.relu(Conv(widths[0], "from_point", dtype=self.dtype, name="expand")(z))
    feature = None
    for i, features in enumerate(widths[1:]):
      x = Conv(features, "up", dtype=self.dtype, name=f"up{i}")(x)
      x = nn.relu(GroupNorm(name=f"up{i}_norm")(x))
      if 4 * x.shape[1] == self.side:
        feature = Conv(2, "same", 3, name="feature_head")(x)  # heads are float32 at any compute dtype
    pixel = Conv(2, "same", 5, name="pixel_head")(x)
    return nn.softplus(pixel), nn.softplus(feature)
