"""PDR's depth network alone, to be taught with true depth.

It gives the depth at the input view directly, without a canonical frame: the supervised baseline of Unsup3D
(Wu et al. 2020, table 2).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from pdr_jax.methods.contract import DepthNetwork
from pdr_jax.networks.autoencoder import MapAutoencoder


def create(config: ConfigDict) -> DepthNetwork:
  """The network at the configured widths."""
  widths, scene = config.networks, config.scene
  net = MapAutoencoder(1, widths.width_map, widths.zdim, config.data.side, dtype=jnp.dtype(widths.dtype))

  def init(rng: Array, images: Float[Array, "B S S C"]) -> dict:
    return net.init(rng, images)["params"]

  def apply(params: dict, images: Float[Array, "B S S C"]) -> Float[Array, "B S S"]:
    """Depth in the range that a turned scene can reach: half of the canonical range beyond each end."""
    raw = net.apply({"params": params}, images)[0][..., 0]
    near, far = scene.min_depth, scene.max_depth
    return (near + far) / 2 + (far - near) * jnp.tanh(raw)

  return DepthNetwork(init, apply)
