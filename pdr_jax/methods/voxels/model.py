"""The networks of `voxels` by configuration, and what they say of pictures."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int
from ml_collections import ConfigDict

from pdr_jax.losses import latent
from pdr_jax.methods.voxels import pose, projection
from pdr_jax.networks.voxels import STATISTICS, CodeJudge, PictureEncoder, Texture, VolumeDecoder

JUDGE, POSE = "judge", "pose"  # networks and optimisers of that name


def networks(config: ConfigDict, axis_name: str | None = None) -> dict[str, Any]:
  """`encoder`, `decoder`, and where asked for `texture` and `judge`."""
  own, side = config.voxels, config.data.side
  said = pose.outputs(own.pose, own.pose_components)
  nets = {
    "encoder": PictureEncoder(own.width_encoder, own.code, said, axis_name),
    "decoder": VolumeDecoder(own.width_decoder, side, own.density_start, axis_name),
  }
  nets |= {"texture": Texture(own.width_texture)} if own.texture else {}
  return nets | ({JUDGE: CodeJudge(own.judge_width)} if own.pose == "adversarial" else {})


class Code(NamedTuple):
  """What the encoder says of pictures: the shape's code and, raw, the pose."""

  mean: Float[Array, "B D"]
  log_variance: Float[Array, "B D"]
  pose: Float[Array, "B P"]


def apply(
  net: nn.Module, params: dict, statistics: dict, inputs: ArrayLike, train: bool, config: ConfigDict
) -> tuple[Any, dict]:
  """What a network with batch normalisation gives, and its statistics afterwards.

  With `train.remat` its activations are not kept for the gradient, but computed again.
  """

  def run(params, inputs):
    variables = {"params": params, STATISTICS: statistics}
    if not train:
      return net.apply(variables, inputs, False), statistics
    outputs, changed = net.apply(variables, inputs, True, mutable=[STATISTICS])
    return outputs, changed[STATISTICS]

  return (jax.checkpoint(run) if config.train.remat else run)(params, inputs)


def encoded(
  nets: dict, params: dict, statistics: dict, images: Float[ArrayLike, "B S S 1"], train: bool,
  config: ConfigDict,
) -> tuple[Code, dict]:
  """The code of pictures in [-1, 1], with the clipping of the latent space; statistics afterwards."""
  outputs, after = apply(
    nets["encoder"], params["encoder"], statistics["encoder"], unit(images), train, config
  )
  mean, log_variance, raw = outputs
  own, root = config.voxels, (config.voxels.code + 1) ** 0.5
  if own.clip_mean:
    mean = latent.clip_rows(mean, own.clip_mean * root)
  if own.clip_log_variance:
    log_variance = latent.clip_rows(log_variance, own.clip_log_variance * root)
  return Code(mean, log_variance, raw), after


def decoded(
  nets: dict, params: dict, statistics: dict, codes: Float[ArrayLike, "B D"], train: bool, config: ConfigDict
) -> tuple[Float[Array, "B S S S"], dict]:
  """The logits of the densities of codes, in the canonical frame; statistics afterwards."""
  logits, after = apply(
    nets["decoder"], params["decoder"], statistics["decoder"], codes, train, config
  )
  return (projection.mirrored(logits) if config.voxels.symmetric else logits), after


def unit(images: Float[ArrayLike, "*B S S 1"]) -> Float[Array, "*B S S 1"]:
  """[-1, 1] to [0, 1]."""
  return (images + 1) / 2


def azimuth_of(
  params: dict, code: Code, index: Int[ArrayLike, " B"], config: ConfigDict
) -> Float[Array, " B"]:
  """The azimuth of pictures, as inference takes it: the likeliest. A free one is drawn, always the same."""
  kind = config.voxels.pose
  if kind == "free":
    return pose.draw_free(params[POSE], jax.random.key(0), index)
  if kind == "adversarial":
    return pose.angle_of(pose.direction(code.pose))
  return pose.most_probable(pose.posterior_of(code.pose, config.voxels.pose_components))


def squared(
  projected: Float[ArrayLike, "*#B S S"], target: Float[ArrayLike, "*#B S S"]
) -> Float[Array, "..."]:
  """The sum of a picture's squared differences, in pixels of [0, 1]."""
  return jnp.square(projected - target).sum(axis=(-2, -1))


def normals(rng: Array, index: Int[ArrayLike, " B"], shape: tuple[int, ...]) -> Float[Array, "B ..."]:
  """Unit Gaussian noise; each picture of the global batch has its own stream."""
  return jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(rng, i), shape))(index)
