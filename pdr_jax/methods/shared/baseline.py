"""What the baselines share: PDR's map encoder and decoder, and a picture's likelihood.

Encoder and decoder have PDR's size of representation. One encoder, of the width of PDR's depth and albedo
encoders, gives a vector as long as PDR's four blocks together, so that a downstream task sees as many numbers
whichever method made them. Parameters are a dict of the networks in `nets`: `encoder` reads images, all
others read that vector.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.elements import ElementSpec
from pdr_jax.losses.photometric import photometric
from pdr_jax.methods.contract import TrainState
from pdr_jax.methods.shared import feature_maps as shared_maps
from pdr_jax.methods.shared import gradient_step, inputs
from pdr_jax.networks.autoencoder import MapDecoder, MapEncoder
from pdr_jax.rules import above, at_least, one_of


def defaults() -> dict[str, dict[str, Any]]:
  """The sections that every baseline has."""
  return dict(
      networks=dict(
          width_map=64,           # nf of the encoder and of the decoder
          width_vector=32,        # with zdim: the sizes of PDR's blocks, of which baseline.zdim=0 takes the
                                  # sum
          zdim=256,
          dtype="float32",        # compute dtype, float32 or bfloat16; parameters are float32
      ),
      baseline=dict(
          zdim=0,                 # numbers in the representation; 0: those of PDR's blocks together, 2 zdim +
                                  # 16 width_vector of networks
          pixel_std=1.0,          # deviation of the decoded pixels' Gaussian, in pixels of [-1, 1]: smaller
                                  # favours reconstruction
      ),
  )


RULES = {
    "networks.width_map": inputs.WIDTH,
    "networks.width_vector": inputs.WIDTH,
    "networks.zdim": at_least(1),
    "networks.dtype": one_of("float32", "bfloat16"),
    "baseline.zdim": at_least(0),
    "baseline.pixel_std": above(0),
}


def small(config: ConfigDict) -> None:
  """The variant `small`."""
  config.networks.update(width_map=16, width_vector=16, zdim=64)


def reads(config: ConfigDict) -> ElementSpec:
  """Pictures alone."""
  return {"image": inputs.image(config)}


def check(config: ConfigDict, devices: int) -> None:
  """Raises `UserError` for pictures that the networks do not take."""
  inputs.check_images(config, channels=(1, 3))


def representation_size(config: ConfigDict) -> int:
  """Numbers in a baseline's representation: `baseline.zdim`.

  Where it is 0, they are as many as those in PDR's depth, albedo, light and view blocks.
  """
  return config.baseline.zdim or 2 * config.networks.zdim + 2 * 8 * config.networks.width_vector


def encoder(config: ConfigDict) -> MapEncoder:
  """Images `[B,S,S,C]` to `[B,D]`, non-negative."""
  widths = config.networks
  return MapEncoder(widths.width_map, representation_size(config), config.data.side, jnp.dtype(widths.dtype))


def decoder(config: ConfigDict) -> MapDecoder:
  """`[B,D]` to unbounded pictures `[B,S,S,C]`; see `decode`."""
  widths, data = config.networks, config.data
  return MapDecoder(data.channels, widths.width_map, data.side, jnp.dtype(widths.dtype))


def init(
  rng: Array, batch: dict, *, nets: Mapping[str, Any], tx: optax.GradientTransformation, config: ConfigDict
) -> TrainState:
  """The state of a method whose networks and optimiser are all that it has."""
  return gradient_step.init(init_networks(rng, nets, config), tx, config)


def init_networks(rng: Array, nets: Mapping[str, Any], config: ConfigDict) -> dict[str, Any]:
  """Fresh parameters by network; each draws from its own stream."""
  side = config.data.side
  images = jnp.zeros((1, side, side, config.data.channels))
  vectors = jnp.zeros((1, representation_size(config)))
  params = {}
  for i, (name, net) in enumerate(nets.items()):
    example = images if name == "encoder" else vectors
    params[name] = net.init(jax.random.fold_in(rng, i), example)["params"]
  return params


def embed(params: dict, images: Float[ArrayLike, "B S S C"], nets: dict) -> Float[Array, "B D"]:
  """The encoder's bottleneck, float32, non-negative."""
  return nets["encoder"].apply({"params": params["encoder"]}, images).astype(jnp.float32)


def feature_maps(
    variables: dict, images: Float[ArrayLike, "B S S C"], *, config: ConfigDict
) -> dict[str, list[Float[Array, "B ..."]]]:
  """The encoder's stages, see `shared.feature_maps`; float32."""
  net = MapEncoder(config.networks.width_map, representation_size(config), config.data.side)
  return {"encoder": shared_maps.stages(net, variables["encoder"], images)}


def decode(params: dict, z: Float[ArrayLike, "B D"], nets: dict) -> Float[Array, "B S S C"]:
  """Pictures in (-1, 1), as PDR's albedo."""
  return jnp.tanh(nets["decoder"].apply({"params": params["decoder"]}, z))


def negative_log_likelihood(
    images: Float[ArrayLike, "B S S C"], decoded: Float[ArrayLike, "B S S C"], config: ConfigDict
) -> Float[Array, " B"]:
  """Nats of each picture under Gaussian pixels about the decoded ones.

  Their deviation is `baseline.pixel_std`; the constant is left out.
  """
  return jnp.square((images - decoded) / config.baseline.pixel_std).sum(axis=(1, 2, 3)) / 2


def reconstruction_scores(
    images: Float[ArrayLike, "B S S C"], decoded: Float[ArrayLike, "B S S C"], config: ConfigDict
) -> dict[str, Array]:
  """`val/reconstruction` (nats, as in the loss) and `val/l1` (mean absolute difference, comparable over
  methods), one value an image.
  """
  return {
      "val/reconstruction": negative_log_likelihood(images, decoded, config),
      "val/l1": photometric(decoded, images).mean(axis=(1, 2, 3)),
  }
