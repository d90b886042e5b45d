"""What the baselines share: PDR's map encoder and decoder at PDR's size of representation, and the likelihood of a picture.

One encoder, of the width of PDR's depth and albedo encoders, gives a vector as long as PDR's four blocks together, so that a downstream
task sees as many numbers whichever method made them. Parameters are a dict of the networks in `nets`: `encoder` reads images, all others
read that vector.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from pdr_jax.losses.photometric import photometric
from pdr_jax.networks.autoencoder import MapDecoder, MapEncoder


def representation_size(config: ConfigDict) -> int:
  """Numbers in a baseline's representation: `baseline.zdim`, or, where it is 0, those in PDR's depth, albedo, light and view blocks."""
  return config.baseline.zdim or 2 * config.networks.zdim + 2 * 8 * config.networks.width_vector


def encoder(config: ConfigDict) -> MapEncoder:
  """Images `[B,S,S,3]` to `[B,D]`, non-negative."""
  return MapEncoder(config.networks.width_map, representation_size(config), config.data.side, jnp.dtype(config.networks.dtype))


def decoder(config: ConfigDict) -> MapDecoder:
  """`[B,D]` to unbounded pictures `[B,S,S,3]`; see `decode`."""
  return MapDecoder(3, config.networks.width_map, config.data.side, jnp.dtype(config.networks.dtype))


def init_networks(rng: Array, nets: dict[str, nn.Module], config: ConfigDict) -> dict[str, Any]:
  """Fresh parameters by network; each draws from its own stream."""
  images, vectors = jnp.zeros((1, config.data.side, config.data.side, 3)), jnp.zeros((1, representation_size(config)))
  inputs = {name: images if name == "encoder" else vectors for name in nets}
  return {name: net.init(jax.random.fold_in(rng, i), inputs[name])["params"] for i, (name, net) in enumerate(nets.items())}


def embed(params: dict, images: Float[Array, "B S S 3"], nets: dict) -> Float[Array, "B D"]:
  """The encoder's bottleneck, float32, non-negative."""
  return nets["encoder"].apply({"params": params["encoder"]}, images).astype(jnp.float32)


def decode(params: dict, z: Float[Array, "B D"], nets: dict) -> Float[Array, "B S S 3"]:
  """Pictures in (-1, 1), as PDR's albedo."""
  return jnp.tanh(nets["decoder"].apply({"params": params["decoder"]}, z))


def negative_log_likelihood(images: Float[Array, "B S S 3"], decoded: Float[Array, "B S S 3"], config: ConfigDict) -> Float[Array, " B"]:
  """Nats of each picture under Gaussian pixels about the decoded ones, of deviation `baseline.pixel_std`; the constant is left out."""
  return jnp.square((images - decoded) / config.baseline.pixel_std).sum(axis=(1, 2, 3)) / 2


def reconstruction_scores(images: Float[Array, "B S S 3"], decoded: Float[Array, "B S S 3"], config: ConfigDict) -> dict[str, Array]:
  """`val/reconstruction` (nats, as in the loss) and `val/l1` (mean absolute difference, comparable over methods), one value an image."""
  return {
      "val/reconstruction": negative_log_likelihood(images, decoded, config),
      "val/l1": photometric(decoded, images).mean(axis=(1, 2, 3)),
  }
