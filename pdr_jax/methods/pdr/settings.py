"""The configuration of PDR: defaults, rules, variants and checks.

The defaults have the published widths (specification, sections 1 to 6).
"""

import os
from typing import Any

from ml_collections import ConfigDict

from pdr_jax.elements import ElementSpec
from pdr_jax.errors import UserError
from pdr_jax.methods.shared import inputs
from pdr_jax.rules import ANYTHING, PATH, Rule, above, at_least, between, fraction, one_of

FACTORS = ("light", "view", "albedo", "depth")  # that LOOCC may perturb


def defaults() -> dict[str, dict[str, Any]]:
  """Faces at the published widths."""
  return dict(
      networks=dict(
          width_map=64,           # nf of the depth, albedo and confidence networks
          width_vector=32,        # nf of the light and view networks
          zdim=256,               # depth and albedo bottleneck
          zdim_confidence=128,    # bottleneck of the confidence network
          vector_tanh="output",   # output | features: what the tanh of the light and view networks bounds
                                  # (features: released PDR code)
          dtype="float32",        # compute dtype, float32 or bfloat16; parameters are float32
      ),
      scene=dict(
          fov=10.0,               # degrees, between the centres of the outermost pixels
          min_depth=0.9,          # model units, the nearest that a canonical depth can be
          max_depth=1.1,          # the farthest
          border_depth=1.04,      # depth of the two leftmost and two rightmost columns
          rotation_range=60.0,    # degrees, each axis
          translation_xy=0.1,     # model units
          translation_z=0.0,      # model units
          light="sh",             # sh | sh_rgb (coloured) | directional
          diffuse_min=0.0,        # directional light: lower bound of the diffuse term (cars 0.5)
          convex_start=0.8,       # height of the dome added to the raw depth before its tanh; 0 switches it
                                  # off
          view_readings=1,        # of each picture: further ones are of the picture turned back by the last
                                  # one, and the view is their mean
          level=False,            # take the slope from top to bottom out of the raw depth, so that pitch is
                                  # the view's alone
      ),
      loss=dict(
          confidence=True,        # predict a deviation for each pixel, which weights the reconstruction
          flip=0.5,               # weight of the mirrored scene's terms
          perceptual=1.0,         # weight of the perceptual term
          perceptual_features="random",  # random (fixed random convolutions) | vgg16 (needs
                                         # perceptual_weights)
          perceptual_weights="",  # torchvision's VGG16 .pth or a converted .safetensors
          smoothness=0.0,         # weight of the depth's differences between neighbours
          deviation=0.0,          # weight of the depths' squared differences from the batch's mean depth
          light_from_below=0.0,   # of the square of what a batch's mean vertical light lacks to .15
      ),
      loocc=dict(
          weight=0.0714,          # 0 switches LOOCC off (Unsup3D)
          factors=("light", "view"),     # which factors may be perturbed; also albedo, depth
          choice="sample",        # sample | batch: one draw per sample, or one coin per batch
          ambient=0.5,            # light: offset of the ambient and of the diffuse strength, +-
          light_angle=22.5,       # light: degrees
          pitch=11.25,            # view: degrees, +-
          yaw=22.5,               # view: degrees, +-
          perturbation="bounded",  # bounded (clamped to the ranges, direction rotated) | raw (released code:
                                  # offsets, no clamp)
          mask="own",             # own | both: the re-render's mask, or the product of both halves' masks,
                                  # unclipped
          stop_gradient=False,    # True stops the gradient at the re-render
          features="normalized",  # normalized | raw: per-block L2 normalisation, or bottlenecks as they are
                                  # (light and view through a tanh)
          contrast="ntxent",      # ntxent | supcon (base temperature 0.07)
          temperature=0.5,        # of the contrast
      ),
      view_consistency=dict(
          weight=0.0,             # of the errors with which the view network reads views that were rendered
          spread=(12.5, 25.0, 5.0),  # degrees: deviations of pitch, yaw and roll of those views
      ),
      optim=dict(
          view_rate=1.0,          # the view network's learning rate, as a multiple of learning_rate
          mean_shape_rate=0.0,    # that of a shape which all images share, to which the depth network adds;
                                  # 0: there is none
      ),
  )


RULES = {
    "networks.width_map": inputs.WIDTH,
    "networks.width_vector": inputs.WIDTH,
    "networks.zdim": at_least(1),
    "networks.zdim_confidence": at_least(1),
    "networks.vector_tanh": one_of("output", "features"),
    "networks.dtype": one_of("float32", "bfloat16"),
    "scene.fov": Rule(lambda value: 0 < value < 120, "degrees above 0 and below 120"),
    "scene.min_depth": above(0),
    "scene.max_depth": above(0),
    "scene.border_depth": above(0),
    "scene.rotation_range": Rule(lambda value: 0 <= value < 90, "degrees from 0 to below 90"),
    "scene.translation_xy": at_least(0),
    "scene.translation_z": at_least(0),
    "scene.light": one_of("sh", "sh_rgb", "directional"),
    "scene.diffuse_min": fraction(),
    "scene.convex_start": at_least(0),
    "scene.view_readings": at_least(1),
    "scene.level": ANYTHING,
    "loss.confidence": ANYTHING,
    "loss.flip": at_least(0),
    "loss.perceptual": at_least(0),
    "loss.perceptual_features": one_of("random", "vgg16"),
    "loss.perceptual_weights": PATH,
    "loss.smoothness": at_least(0),
    "loss.deviation": at_least(0),
    "loss.light_from_below": at_least(0),
    "view_consistency.weight": at_least(0),
    "view_consistency.spread": Rule(
        lambda angles: len(angles) == 3 and all(angle >= 0 for angle in angles),
        "three angles of at least 0 degrees",
    ),
    "loocc.weight": at_least(0),
    "loocc.factors": Rule(
        lambda names: len(names) > 0 and set(names) <= set(FACTORS) and len(set(names)) == len(names),
        f"at least one of {', '.join(FACTORS)}, each once",
    ),
    "loocc.choice": one_of("sample", "batch"),
    "loocc.ambient": between(0, 1),
    "loocc.light_angle": between(0, 180),
    "loocc.pitch": between(0, 90),
    "loocc.yaw": between(0, 90),
    "loocc.perturbation": one_of("bounded", "raw"),
    "loocc.mask": one_of("own", "both"),
    "loocc.stop_gradient": ANYTHING,
    "loocc.features": one_of("normalized", "raw"),
    "loocc.contrast": one_of("ntxent", "supcon"),
    "loocc.temperature": above(0),
    "optim.view_rate": above(0),
    "optim.mean_shape_rate": at_least(0),
}


def _small(config: ConfigDict) -> None:
  config.networks.update(width_map=16, width_vector=16, zdim=64, zdim_confidence=32)
  config.scene.update(level=True, view_readings=3)
  config.loss.update(perceptual=0.0, smoothness=0.5, deviation=20.0, light_from_below=5.0)
  config.view_consistency.weight = 1.0
  config.optim.update(view_rate=2.0, mean_shape_rate=20.0)


def _unsup3d(config: ConfigDict) -> None:
  config.loocc.weight = 0.0


def _parity(config: ConfigDict) -> None:
  config.scene.update(light="directional", convex_start=0.0, view_readings=1, level=False)
  config.loss.update(deviation=0.0, light_from_below=0.0)
  config.view_consistency.weight = 0.0
  config.optim.update(view_rate=1.0, mean_shape_rate=0.0, weight_decay=5e-4)
  config.loocc.update(
      choice="batch", perturbation="raw", mask="both", features="raw", contrast="supcon", weight=0.01
  )


def _shallow(config: ConfigDict) -> None:
  config.scene.update(min_depth=0.94, max_depth=1.06, border_depth=1.024)


def _plain(config: ConfigDict) -> None:
  config.loss.update(deviation=0.0, light_from_below=0.0)
  config.scene.view_readings = 1
  config.view_consistency.weight = config.optim.mean_shape_rate = 0.0


def _frontal(config: ConfigDict) -> None:
  config.scene.update(rotation_range=0.0, translation_xy=0.0)
  config.view_consistency.weight, config.loocc.factors = 0.0, ("light",)


def _cars(config: ConfigDict) -> None:
  config.scene.update(border_depth=1.08, light="directional", diffuse_min=0.5)
  config.loss.update(confidence=False, flip=1.0, perceptual=0.01, smoothness=0.1)


# `unsup3d`: LOOCC off. `parity`: every choice of the released PDR code (specification, section 6), without
# the convex start. `cars`: the published car settings (section 5). `shallow`: for pictures which show
# more than a face, whose relief is less deep for the picture's width. `plain`: without those aids of `small`
# that were found on faces, and do harm to cars or were not tried on them. `frontal`: pictures without poses,
# which differ in light.
VARIANTS = {
    "small": _small,
    "unsup3d": _unsup3d,
    "parity": _parity,
    "cars": _cars,
    "shallow": _shallow,
    "plain": _plain,
    "frontal": _frontal,
}


def reads(config: ConfigDict) -> ElementSpec:
  """Pictures alone."""
  return {"image": inputs.image(config)}


def check(config: ConfigDict, devices: int) -> None:
  """Raises `UserError` where keys do not go together."""
  inputs.check_images(config)
  _check_loocc(config, devices)
  scene, loss = config.scene, config.loss
  if scene.min_depth >= scene.max_depth:
    raise UserError(
      f"config.scene.min_depth = {scene.min_depth}: must be below config.scene.max_depth = {scene.max_depth}"
    )
  if not scene.min_depth <= scene.border_depth <= scene.max_depth:
    raise UserError(
      f"config.scene.border_depth = {scene.border_depth}: must be from {scene.min_depth} to {scene.max_depth}"
      " (the depths)"
    )
  if loss.perceptual > 0 and loss.perceptual_features == "vgg16":
    if not loss.perceptual_weights:
      raise UserError(
          "config.loss.perceptual_weights is empty: vgg16 needs torchvision's VGG16 .pth or a converted"
          " .safetensors by path"
      )
    if not os.path.isfile(os.path.expanduser(loss.perceptual_weights)):
      raise UserError(f"config.loss.perceptual_weights = {loss.perceptual_weights!r}: no such file")


def _check_loocc(config: ConfigDict, devices: int) -> None:
  batch, loocc = config.train.batch_size, config.loocc
  if loocc.weight > 0 and batch < 2:
    raise UserError(
        f"config.train.batch_size = {batch}: LOOCC contrasts images of a batch and needs at least 2 (or"
        " config.loocc.weight=0)"
    )
  if loocc.weight > 0 and {"depth", "albedo"} & set(loocc.factors) and (batch // devices) % 2:
    raise UserError(
      f"config.train.batch_size = {batch}: swapping depth or albedo needs an even number of images per device"
    )
  if loocc.perturbation == "raw" and config.scene.light != "directional":
    raise UserError(
        f"config.loocc.perturbation = 'raw': needs config.scene.light=directional, not {config.scene.light}"
    )
