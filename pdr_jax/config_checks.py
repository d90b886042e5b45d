"""Is this configuration possible? Every key has a rule here; a broken one is a one-line error that names the key and what it accepts."""

import difflib
import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from pdr_jax import config as config_lib
from pdr_jax.errors import UserError

SIDES = (32, 64, 128, 256)
FACTORS = ("light", "view", "albedo", "depth")


class Rule(NamedTuple):
  """What one key accepts: a test of the value, and the words for it."""

  accepts: Callable[[Any], bool]
  words: str


def _one_of(*choices: Any) -> Rule:
  return Rule(lambda v: v in choices, "one of " + ", ".join(map(str, choices)))


def _at_least(low: float) -> Rule:
  return Rule(lambda v: v >= low, f"at least {low:g}")


def _above(low: float) -> Rule:
  return Rule(lambda v: v > low, f"above {low:g}")


def _between(low: float, high: float) -> Rule:
  return Rule(lambda v: low <= v <= high, f"from {low:g} to {high:g}")


def _fraction() -> Rule:
  return Rule(lambda v: 0 <= v < 1, "from 0 to below 1")


def _width() -> Rule:
  # GroupNorm takes width / 4 groups, so that each group has at least four channels.
  return Rule(lambda v: v > 0 and v % 4 == 0, "a positive multiple of 4")


_ANY = Rule(lambda v: True, "anything")
_TEXT = Rule(lambda v: bool(v.strip()), "a name")

RULES = {
    "method": _TEXT,  # and a name of pdr_jax.methods, see below
    "seed": _between(0, 2**32 - 1),
    "data.name": _TEXT,
    "data.path": _ANY,
    "data.cache_dir": _ANY,
    "data.side": _one_of(*SIDES),
    "data.train_examples": _at_least(0),
    "data.val_examples": _at_least(0),
    "data.scene_seed": _between(0, 2**32 - 1),
    "data.crop": Rule(
        lambda v: len(v) == 0 or (len(v) == 4 and all(isinstance(e, int) and e >= 0 for e in v) and v[0] < v[2] and v[1] < v[3]),
        "empty, or (left, top, right, bottom) in pixels with left < right and top < bottom",
    ),
    "data.flip": _ANY,
    "data.split_by": _TEXT,
    "data.workers": _at_least(0),
    "networks.width_map": _width(),
    "networks.width_vector": _width(),
    "networks.zdim": _at_least(1),
    "networks.zdim_confidence": _at_least(1),
    "networks.vector_tanh": _one_of("output", "features"),
    "networks.dtype": _one_of("float32", "bfloat16"),
    "scene.fov": Rule(lambda v: 0 < v < 120, "degrees above 0 and below 120"),
    "scene.min_depth": _above(0),
    "scene.max_depth": _above(0),
    "scene.border_depth": _above(0),
    "scene.rotation_range": Rule(lambda v: 0 <= v < 90, "degrees from 0 to below 90"),
    "scene.translation_xy": _at_least(0),
    "scene.translation_z": _at_least(0),
    "scene.light": _one_of("sh", "sh_rgb", "directional"),
    "scene.diffuse_min": _fraction(),
    "scene.convex_start": _at_least(0),
    "scene.level": _ANY,
    "loss.confidence": _ANY,
    "loss.flip": _at_least(0),
    "loss.perceptual": _at_least(0),
    "loss.perceptual_features": _one_of("random", "vgg16"),
    "loss.perceptual_weights": _ANY,
    "loss.smoothness": _at_least(0),
    "loocc.weight": _at_least(0),
    "loocc.factors": Rule(
        lambda v: len(v) > 0 and set(v) <= set(FACTORS) and len(set(v)) == len(v), "at least one of " + ", ".join(FACTORS) + ", each once"
    ),
    "loocc.choice": _one_of("sample", "batch"),
    "loocc.ambient": _between(0, 1),
    "loocc.light_angle": _between(0, 180),
    "loocc.pitch": _between(0, 90),
    "loocc.yaw": _between(0, 90),
    "loocc.perturbation": _one_of("bounded", "raw"),
    "loocc.mask": _one_of("own", "both"),
    "loocc.stop_gradient": _ANY,
    "loocc.features": _one_of("normalized", "raw"),
    "loocc.contrast": _one_of("ntxent", "supcon"),
    "loocc.temperature": _above(0),
    "baseline.zdim": _at_least(0),
    "baseline.pixel_std": _above(0),
    "beta_vae.gamma": _at_least(0),
    "beta_vae.capacity": _at_least(0),
    "beta_vae.capacity_steps": _at_least(1),
    "vq_vae.codes": _at_least(2),
    "vq_vae.code_dim": _at_least(1),
    "vq_vae.decay": _fraction(),
    "vq_vae.commitment": _at_least(0),
    "simclr.crop": Rule(lambda v: 0 < v <= 1, "above 0 and at most 1"),
    "simclr.color": _between(0, 1),
    "simclr.projection": _at_least(1),
    "simclr.temperature": _above(0),
    "optim.learning_rate": _above(0),
    "optim.view_rate": _above(0),
    "optim.schedule": _one_of("constant", "cosine"),
    "optim.warmup_steps": _at_least(0),
    "optim.b1": _fraction(),
    "optim.b2": _fraction(),
    "optim.weight_decay": _at_least(0),
    "optim.clip_norm": _at_least(0),
    "optim.ema": _fraction(),
    "train.steps": _at_least(1),
    "train.batch_size": _at_least(1),
    "train.steps_per_dispatch": _at_least(1),
    "train.remat": _ANY,
    "train.log_every": _at_least(1),
    "train.validate_every": _at_least(1),
    "train.figure_every": _at_least(0),
    "train.checkpoint_every": _at_least(1),
    "train.gradient_norms_every": _at_least(0),
    "train.keep_checkpoints": _at_least(1),
    "train.best_metric": _TEXT,
    "train.grace_seconds": _above(0),
    "train.skip_nonfinite": _at_least(0),
    "train.stall_minutes": _at_least(0),
    "train.profile_steps": Rule(
        lambda v: len(v) == 0 or (len(v) == 2 and all(isinstance(e, int) for e in v) and 1 <= v[0] <= v[1]),
        "empty, or (first, last) with 1 <= first <= last",
    ),
}


def flatten(config: ConfigDict | dict) -> dict[str, Any]:
  """{'data': {'side': 64}} -> {'data.side': 64}, in the order of the config."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, (ConfigDict, dict)):
      flat.update({f"{key}.{name}": entry for name, entry in flatten(value).items()})
    else:
      flat[key] = value
  return flat


def nearest(name: str, known: list[str]) -> str:
  """`name`'s nearest key among `known`, for an error message; a key of the same last part wins over a similar spelling."""
  same_leaf = [key for key in known if key.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
  close = same_leaf or difflib.get_close_matches(name, known, n=1, cutoff=0.0)
  return close[0]


def validate(config: ConfigDict, device_count: int) -> None:
  """Raises `UserError` for the first impossible value; also needs the number of devices that share a batch (all processes)."""
  flat = flatten(config)
  defaults = flatten(config_lib.base())
  for key, value in flat.items():
    if key not in defaults:
      raise UserError(f"config.{key} is unknown; did you mean config.{nearest(key, list(defaults))}?")
    _check_type(key, value, defaults[key])
  for key in defaults:
    if key not in flat:
      raise UserError(f"config.{key} is missing; start from pdr_jax.config.base() (default: {defaults[key]!r})")
  for key, value in flat.items():
    if isinstance(value, float) and not math.isfinite(value):
      raise UserError(f"config.{key} = {value}: must be a finite number")
    if not RULES[key].accepts(value):
      raise UserError(f"config.{key} = {value!r}: must be {RULES[key].words}")
  _check_relations(config, device_count)


def _check_type(key: str, value: Any, default: Any) -> None:
  kinds = {float: (float, int), tuple: (tuple, list)}.get(type(default), (type(default),))
  if not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(default, bool)):
    raise UserError(f"config.{key} = {value!r}: must be {type(default).__name__}, such as {default!r}")


def _check_relations(config: ConfigDict, device_count: int) -> None:
  """Rules about more than one key, or about the machine."""
  batch, data, scene, loss = config.train.batch_size, config.data, config.scene, config.loss
  from pdr_jax.methods import METHODS  # here, so that parsing flags needs no JAX

  if config.method not in METHODS:
    raise UserError(f"config.method = {config.method!r}: must be one of {', '.join(METHODS)}")
  if batch % device_count:
    raise UserError(f"config.train.batch_size = {batch}: must be a multiple of the {device_count} devices")
  if config.loocc.weight > 0 and batch < 2:
    raise UserError(f"config.train.batch_size = {batch}: LOOCC contrasts images of a batch and needs at least 2 (or config.loocc.weight=0)")
  loocc = config.loocc
  if loocc.weight > 0 and {"depth", "albedo"} & set(loocc.factors) and (batch // device_count) % 2:
    raise UserError(f"config.train.batch_size = {batch}: swapping depth or albedo needs an even number of images per device")
  if loocc.perturbation == "raw" and scene.light != "directional":
    raise UserError(f"config.loocc.perturbation = 'raw': needs config.scene.light=directional, not {scene.light}")
  if config.method == "vq_vae":
    from pdr_jax.methods.baseline import representation_size  # here, so that parsing flags needs no JAX

    if representation_size(config) % config.vq_vae.code_dim:
      size = representation_size(config)
      raise UserError(f"config.vq_vae.code_dim = {config.vq_vae.code_dim}: must divide the representation's {size} numbers")
  if config.method == "simclr" and batch < 2:
    raise UserError(f"config.train.batch_size = {batch}: SimCLR contrasts images of a batch and needs at least 2")
  if scene.min_depth >= scene.max_depth:
    raise UserError(f"config.scene.min_depth = {scene.min_depth}: must be below config.scene.max_depth = {scene.max_depth}")
  if not scene.min_depth <= scene.border_depth <= scene.max_depth:
    raise UserError(f"config.scene.border_depth = {scene.border_depth}: must be from {scene.min_depth} to {scene.max_depth} (the depths)")
  if config.optim.warmup_steps > config.train.steps:
    raise UserError(f"config.optim.warmup_steps = {config.optim.warmup_steps}: must be at most config.train.steps = {config.train.steps}")
  if data.name in ("image_folder", "ict_faces", "car_meshes") and not data.path:
    raise UserError(f"config.data.path is empty: config.data.name={data.name} needs the path of its files (--config.data.path=...)")
  if data.path and not os.path.exists(os.path.expanduser(data.path)):
    raise UserError(f"config.data.path = {data.path!r}: no such file or folder")
  if loss.perceptual > 0 and loss.perceptual_features == "vgg16":
    if not loss.perceptual_weights:
      raise UserError("config.loss.perceptual_weights is empty: vgg16 needs torchvision's VGG16 .pth or a converted .safetensors by path")
    if not os.path.isfile(os.path.expanduser(loss.perceptual_weights)):
      raise UserError(f"config.loss.perceptual_weights = {loss.perceptual_weights!r}: no such file")
