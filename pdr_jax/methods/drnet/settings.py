"""The configuration of DrNET: defaults, rules, variants, checks, and what a step reads."""

from typing import Any

from ml_collections import ConfigDict

from pdr_jax.elements import Element, ElementSpec
from pdr_jax.errors import UserError
from pdr_jax.losses.photometric import RECONSTRUCTIONS
from pdr_jax.methods.drnet.networks import DECODERS, ENCODERS
from pdr_jax.methods.drnet.sampling import SAMPLINGS
from pdr_jax.rules import ANYTHING, at_least, one_of

SIDES = (16, 32, 64, 128, 256)


def defaults() -> dict[str, dict[str, Any]]:
  """The section `drnet`, and common defaults of the published training."""
  return dict(
      data=dict(side=64, frames=12),
      optim=dict(learning_rate=2e-3, weight_decay=0.0, clip_norm=0.0),
      train=dict(batch_size=100, steps=100_000),
      drnet=dict(
          content="dcgan",        # content encoder: dcgan | vgg | resnet
          pose="dcgan",           # pose encoder: the same
          decoder="dcgan",        # dcgan | vgg
          skips=False,            # the decoder reads the content encoder's maps, which must be of its kind
          width=64,               # features of the first stage, doubled in each up to eight times
          content_size=128,       # numbers in a content vector; 0: none, an auto-encoder of single frames
          pose_size=5,            # and in a pose vector
          unit_length=True,       # both are scaled to length 1 (False: tanh alone, as the released code)
          normalise_pose=True,    # batch normalisation of pose vectors, as published; its noise, as large as
                                  # batches are small, moves what is decoded (docs/training.md)
          discriminator_width=100,
          reconstruction="squared",  # squared | cross_entropy: how decoded pixels are compared with true ones
          similarity_weight=1.0,  # alpha
          adversary_weight=0.1,   # beta; published 0.1, for KTH 1e-4; 0 switches the adversary off
          sampling="any",         # any | first: which frames a step draws, see methods/drnet/sampling.py
          min_offset=1,           # first: frames from the content's to the target, at least
          max_offset=0,           # and at most; 0: to the end of the clip
          fresh_pairs=False,      # the discriminator's step draws frames of its own, and half of its pairs
                                  # are of one clip, as published; otherwise it sees target and partner, with
                                  # their own clip and with another one
          same_label=1,           # 1 | 0: the discriminator's label of a pair of one clip
          dtype="float32",        # compute dtype of the backbones, float32 or bfloat16
      ),
  )


RULES = {
    "drnet.content": one_of(*ENCODERS),
    "drnet.pose": one_of(*ENCODERS),
    "drnet.decoder": one_of(*DECODERS),
    "drnet.skips": ANYTHING,
    "drnet.width": at_least(1),
    "drnet.content_size": at_least(0),
    "drnet.pose_size": at_least(1),
    "drnet.unit_length": ANYTHING,
    "drnet.normalise_pose": ANYTHING,
    "drnet.discriminator_width": at_least(1),
    "drnet.reconstruction": one_of(*RECONSTRUCTIONS),
    "drnet.similarity_weight": at_least(0),
    "drnet.adversary_weight": at_least(0),
    "drnet.sampling": one_of(*SAMPLINGS),
    "drnet.min_offset": at_least(0),
    "drnet.max_offset": at_least(0),
    "drnet.fresh_pairs": ANYTHING,
    "drnet.same_label": one_of(1, 0),
    "drnet.dtype": one_of("float32", "bfloat16"),
}


def _small(config: ConfigDict) -> None:
  """Narrow networks; the common part says side, batch and steps."""
  config.drnet.width = 32
  config.optim.update(learning_rate=1e-3, ema=0.0)
  config.train.batch_size = 64


def _parity(config: ConfigDict) -> None:
  """What the Torch code of the paper does, with the adversary on."""
  config.data.frames = 12
  config.optim.update(learning_rate=2e-3, b1=0.9, schedule="constant", warmup_steps=0, ema=0.0)
  config.train.batch_size = 100
  config.drnet.update(
    sampling="first", min_offset=2, max_offset=11, fresh_pairs=True, same_label=1, unit_length=False,
    normalise_pose=True, reconstruction="squared", similarity_weight=1.0, adversary_weight=0.1,
  )


def _parity_py(config: ConfigDict) -> None:
  """What the later PyTorch code does."""
  _parity(config)
  config.data.frames = 20
  config.optim.b1 = 0.5
  config.drnet.update(sampling="any", same_label=0, pose_size=10, adversary_weight=1e-4)


def _autoencoder(config: ConfigDict) -> None:
  """A baseline for forecasts: one encoder of single frames, as long as both vectors together."""
  size = config.drnet.content_size + config.drnet.pose_size
  config.drnet.update(content_size=0, pose_size=size, skips=False, adversary_weight=0.0)


def _no_adversary(config: ConfigDict) -> None:
  """beta = 0."""
  config.drnet.adversary_weight = 0.0


VARIANTS = {
    "small": _small,
    "parity": _parity,
    "parity_py": _parity_py,
    "autoencoder": _autoencoder,
    "no_adversary": _no_adversary,
}


def check(config: ConfigDict, devices: int) -> None:
  """Raises `UserError` where keys do not go together."""
  data, drnet = config.data, config.drnet
  check_clips(config)
  if data.frames < 2:
    raise UserError(
      f"config.data.frames = {data.frames}: config.method={config.method} learns from clips of at least 2"
    )
  if drnet.skips and drnet.content != drnet.decoder:
    raise UserError(
      f"config.drnet.skips: the decoder {drnet.decoder} reads the maps of a content encoder of its kind, and"
      f" config.drnet.content is {drnet.content}"
    )
  if drnet.skips and not drnet.content_size:
    raise UserError("config.drnet.skips: with config.drnet.content_size = 0 there is no content encoder")
  last = drnet.max_offset or data.frames - 1
  if drnet.sampling == "first" and not drnet.min_offset <= last < data.frames:
    raise UserError(
      f"config.drnet.max_offset = {drnet.max_offset}: must lie from config.drnet.min_offset ="
      f" {drnet.min_offset} to {data.frames - 1}, the last of config.data.frames = {data.frames}"
    )
  if config.train.batch_size < 2 * max(1, devices):
    raise UserError(
      f"config.train.batch_size = {config.train.batch_size}: pairs of clips, and batch statistics, need at"
      f" least 2 on each of {devices} devices"
    )
  if drnet.fresh_pairs and config.train.batch_size < 4:
    raise UserError(
      f"config.train.batch_size = {config.train.batch_size}: config.drnet.fresh_pairs shuffles half of the"
      " batch and needs at least 4"
    )


def check_clips(config: ConfigDict) -> None:
  """Raises `UserError` for a side that no backbone takes."""
  if config.data.side not in SIDES:
    raise UserError(
      f"config.data.side = {config.data.side}: must be one of {', '.join(map(str, SIDES))} for"
      f" config.method={config.method}"
    )


def reads(config: ConfigDict) -> ElementSpec:
  """Clips, in the range of the decoder's sigmoid."""
  data = config.data
  shape = (data.frames, data.side, data.side, data.channels)
  return {"clip": Element(shape, "float32", "clip", (0.0, 1.0))}
