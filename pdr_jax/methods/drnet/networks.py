"""The four networks of DrNET: content encoder, pose encoder, decoder, scene discriminator."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.networks import dcgan, resnet, vgg
from pdr_jax.networks.batch_norm import RUNNING, STATISTICS, Norm

ENCODERS = {"dcgan": dcgan.Encoder, "vgg": vgg.Encoder, "resnet": resnet.Encoder}
DECODERS = {"dcgan": dcgan.Decoder, "vgg": vgg.Decoder}
INIT = nn.initializers.normal(0.02)


class Discriminator(nn.Module):
  """Pairs of pose vectors `[B,2P]` to logits: are both of one clip?"""

  width: int

  @nn.compact
  def __call__(self, pairs: Float[ArrayLike, "B D"]) -> Float[Array, " B"]:
    x = pairs
    for i in range(2):
      x = nn.relu(nn.Dense(self.width, kernel_init=INIT, name=f"hidden{i}")(x))
    return nn.Dense(1, kernel_init=INIT, name="logit")(x)[:, 0]


def create(config: ConfigDict) -> dict[str, nn.Module]:
  """The networks by name; without `content` where `drnet.content_size` is 0."""
  drnet, data = config.drnet, config.data
  dtype = jnp.dtype(drnet.dtype)
  common = dict(width=drnet.width, side=data.side, dtype=dtype)
  vectors = common | dict(unit_length=drnet.unit_length)
  nets: dict[str, nn.Module] = {
    "pose": ENCODERS[drnet.pose](drnet.pose_size, **vectors, normalise=drnet.normalise_pose),
    "decoder": DECODERS[drnet.decoder](data.channels, **common),
    "discriminator": Discriminator(drnet.discriminator_width),
  }
  if drnet.content_size:
    nets["content"] = ENCODERS[drnet.content](drnet.content_size, **vectors)
  return nets


def init(rng: Array, nets: dict[str, nn.Module], config: ConfigDict) -> tuple[dict, dict]:
  """Fresh parameters and running statistics by network; each draws from its own stream."""
  drnet, data = config.drnet, config.data
  images = jnp.zeros((1, data.side, data.side, data.channels))
  vector = jnp.zeros((1, drnet.content_size + drnet.pose_size))
  params, statistics = {}, {}
  skips = []
  for name in ("content", "pose", "decoder", "discriminator"):
    if name not in nets:
      continue
    key = jax.random.fold_in(rng, ("content", "pose", "decoder", "discriminator").index(name))
    if name == "discriminator":
      params[name] = nets[name].init(key, jnp.zeros((1, 2 * drnet.pose_size)))["params"]
      continue
    inputs = (vector, skips) if name == "decoder" else (images,)
    outputs, variables = nets[name].init_with_output(key, *inputs, RUNNING)
    if name == "content" and drnet.skips:
      skips = outputs[1]
    params[name], statistics[name] = variables["params"], variables[STATISTICS]
  return params, statistics


def apply(net: nn.Module, params: Any, statistics: Any, *inputs: Any, norm: Norm, remat: bool) -> tuple:
  """`(outputs, running statistics after it)` of a network with batch normalisation."""

  def run(params, *inputs):
    variables = {"params": params, STATISTICS: statistics}
    if not norm.batch:
      return net.apply(variables, *inputs, norm), statistics
    outputs, changed = net.apply(variables, *inputs, norm, mutable=[STATISTICS])
    return outputs, changed[STATISTICS]

  return (jax.checkpoint(run) if remat else run)(params, *inputs)


def concatenated(content: Float[ArrayLike, "B C"] | None, pose: Float[ArrayLike, "B P"]) -> Array:
  """What the decoder reads; an auto-encoder has no content."""
  return pose if content is None else jnp.concatenate([content, pose], axis=-1)
