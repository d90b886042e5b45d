"""The configuration of SSV: defaults, rules, variants, checks, and what a step reads."""

import os
from typing import Any

from ml_collections import ConfigDict

from pdr_jax.elements import ElementSpec
from pdr_jax.errors import UserError
from pdr_jax.methods.shared import inputs
from pdr_jax.networks.ssv import COARSE, FLAT_SHARES, SIDES
from pdr_jax.rules import ANYTHING, PATH, at_least, between, fraction, one_of

FEATURES = ("own", "random", "vgg16", "alexnet")
FROM_FILE = ("vgg16", "alexnet")


def defaults() -> dict[str, dict[str, Any]]:
  """The section `ssv`, and common defaults of the published training."""
  return dict(
      data=dict(side=128),
      optim=dict(learning_rate=5e-4, b1=0.0, b2=0.99, weight_decay=0.0, clip_norm=0.0, ema=0.999),
      # Reconstructions are best before the networks have learned to turn.
      train=dict(steps=500_000, batch_size=8, gradient_norms_every=0, best_metric="val/found_view"),
      ssv=dict(
          width_synthesis=512,    # channels of the synthesis network's learned volume
          width_viewpoint=512,    # channels of the viewpoint network's maps
          volume_side=16,         # voxels a side of the volume that is turned: 8 or 16
          code=64,                # numbers in each of the two style codes
          azimuth=80.2,           # degrees to both sides that viewpoints are drawn from; 180: the full circle
          elevation=68.8,
          tilt=43.0,
          nearest=False,          # the volume is turned by its nearest voxels, as released: the image term
                                  # then teaches no angles
          volume_rendering=False, # rays receive what the volume emits and absorbs, so that its near side
                                  # hides the far one
          mapping_layers=8,       # between codes and styles
          mapping_rate=0.01,      # of the mapping from codes to styles, relative to optim.learning_rate
          dropout=0.5,            # share of the angles' hidden numbers that a step leaves out
          drift=0.001,            # weight of the critic's squared score of real pictures
          penalty_weight=10.0,    # of the critic's gradient penalty
          features="own",         # what compares a picture with its reconstruction: own (the first map of the
                                  # viewpoint network) | random (fixed random convolutions) | vgg16 | alexnet
                                  # (of the file feature_weights)
          feature_weights="",     # torchvision's file, or its .safetensors
          image_weight=0.16,      # of that comparison; published 0.4, which the released code applies twice
          flip_weight=0.4,        # of the mirrored picture's mirrored viewpoint
          code_weight=0.8,        # of finding the codes of generated pictures
          view_weight=0.8,        # of finding their viewpoints
          mirror_weight=0.5,      # of the mirrored viewpoint's mirrored picture
          shade=0.0,              # how strongly pictures are shaded to a side before the viewpoint network
                                  # sees them, so that light from a side is not taken for a viewpoint
      ),
  )


RULES = {
    "ssv.width_synthesis": at_least(1),
    "ssv.width_viewpoint": at_least(1),
    "ssv.volume_side": one_of(8, 16),
    "ssv.code": at_least(1),
    "ssv.azimuth": between(0, 180),
    "ssv.elevation": between(0, 180),
    "ssv.tilt": between(0, 180),
    "ssv.nearest": ANYTHING,
    "ssv.volume_rendering": ANYTHING,
    "ssv.mapping_layers": at_least(1),
    "ssv.mapping_rate": at_least(0),
    "ssv.dropout": fraction(),
    "ssv.drift": at_least(0),
    "ssv.penalty_weight": at_least(0),
    "ssv.features": one_of(*FEATURES),
    "ssv.feature_weights": PATH,
    "ssv.image_weight": at_least(0),
    "ssv.flip_weight": at_least(0),
    "ssv.code_weight": at_least(0),
    "ssv.view_weight": at_least(0),
    "ssv.mirror_weight": at_least(0),
    "ssv.shade": at_least(0),
}


def _small(config: ConfigDict) -> None:
  """Narrow networks, and what makes heads turn within minutes; the common part says side, batch and steps."""
  config.ssv.update(width_synthesis=32, width_viewpoint=48, volume_side=16, code=16, dropout=0.0)
  config.ssv.update(volume_rendering=True, mapping_layers=1, mapping_rate=0.1)
  config.ssv.update(image_weight=1.0, view_weight=2.4, mirror_weight=10.0)
  config.optim.update(learning_rate=3e-3, schedule="cosine", ema=0.99)
  config.train.update(batch_size=8, gradient_norms_every=0)


def _parity(config: ConfigDict) -> None:
  """What the released code does: volumes turned by their nearest voxels, pairs of pictures."""
  config.ssv.update(nearest=True, volume_rendering=False, mapping_layers=8, mapping_rate=0.01, volume_side=16)
  config.ssv.update(dropout=0.5, image_weight=0.4**2, view_weight=0.8, mirror_weight=0.5)
  config.optim.update(learning_rate=5e-4, schedule="constant", b1=0.0, b2=0.99, ema=0.999)
  config.train.batch_size = 2


def _no_symmetry(config: ConfigDict) -> None:
  """An ablation: nothing is mirrored."""
  config.ssv.update(flip_weight=0.0, mirror_weight=0.0)


def _no_image(config: ConfigDict) -> None:
  """An ablation: pictures are not compared with their reconstructions."""
  config.ssv.image_weight = 0.0


VARIANTS = {"small": _small, "parity": _parity, "no_symmetry": _no_symmetry, "no_image": _no_image}


def check(config: ConfigDict, devices: int) -> None:
  """Raises `UserError` for pictures that the networks do not take, and for keys that do not go together."""
  ssv, name = config.ssv, config.method
  inputs.check_images(config, channels=(1, 3), sides=SIDES)
  if not COARSE < ssv.volume_side < config.data.side:
    raise UserError(
      f"config.ssv.volume_side = {ssv.volume_side}: must be below config.data.side = {config.data.side}"
    )
  least = config.data.side // 2 ** len(FLAT_SHARES)
  if ssv.volume_side < least:
    raise UserError(
      f"config.ssv.volume_side = {ssv.volume_side}: must be at least {least} for config.data.side ="
      f" {config.data.side}"
    )
  if config.train.batch_size < 2:
    raise UserError(
      f"config.train.batch_size = {config.train.batch_size}: config.method={name} compares the pictures of a"
      " batch and needs at least 2"
    )
  if ssv.features != "own" and config.data.channels != 3:
    raise UserError(
      f"config.ssv.features = {ssv.features}: takes colour, and config.data.channels ="
      f" {config.data.channels}; choose own"
    )
  if ssv.features in FROM_FILE and not ssv.feature_weights:
    raise UserError(f"config.ssv.features = {ssv.features}: needs a file, config.ssv.feature_weights=PATH")
  if ssv.features in FROM_FILE and not os.path.isfile(os.path.expanduser(ssv.feature_weights)):
    raise UserError(f"config.ssv.feature_weights = {ssv.feature_weights!r}: no such file")


def reads(config: ConfigDict) -> ElementSpec:
  """Pictures alone."""
  return {"image": inputs.image(config)}
