"""Is this configuration possible? A broken rule is a one-line error that names the key and what it accepts.
"""

import difflib
import math
import os
from typing import Any

from ml_collections import ConfigDict

from pdr_jax import config as config_lib
from pdr_jax import methods
from pdr_jax.config import flatten
from pdr_jax.errors import UserError
from pdr_jax.rules import ANYTHING, NAME, PATH, Rule, above, at_least, between, fraction, one_of

RULES = {
    "method": NAME,
    "seed": between(0, 2**32 - 1),
    "init_from": PATH,
    "data.name": NAME,
    "data.path": PATH,
    "data.cache_dir": PATH,
    "data.side": at_least(8),
    "data.channels": one_of(3, 1),
    "data.frames": at_least(0),
    "data.train_examples": at_least(0),
    "data.val_examples": at_least(0),
    "data.scene_seed": between(0, 2**32 - 1),
    "data.crop": Rule(
        lambda crop: len(crop) == 0 or _is_crop(crop),
        "empty, or (left, top, right, bottom) in pixels with left < right and top < bottom",
    ),
    "data.flip": ANYTHING,
    "data.split_by": NAME,
    "data.label_kinds": ANYTHING,
    "data.normalize_with": PATH,
    "data.options": ANYTHING,
    "data.workers": at_least(0),
    "optim.learning_rate": above(0),
    "optim.schedule": one_of("constant", "cosine"),
    "optim.warmup_steps": at_least(0),
    "optim.b1": fraction(),
    "optim.b2": fraction(),
    "optim.weight_decay": at_least(0),
    "optim.clip_norm": at_least(0),
    "optim.ema": fraction(),
    "train.steps": at_least(1),
    "train.batch_size": at_least(1),
    "train.steps_per_dispatch": at_least(1),
    "train.remat": ANYTHING,
    "train.log_every": at_least(1),
    "train.validate_every": at_least(1),
    "train.figure_every": at_least(0),
    "train.checkpoint_every": at_least(1),
    "train.gradient_norms_every": at_least(0),
    "train.keep_checkpoints": at_least(1),
    "train.best_metric": NAME,
    "train.best_mode": one_of("lowest", "highest"),
    "train.patience": between(0, 1),
    "train.probe_examples": at_least(0),
    "train.grace_seconds": above(0),
    "train.skip_nonfinite": at_least(0),
    "train.stall_minutes": at_least(0),
    "train.profile_steps": Rule(
        lambda steps: len(steps) == 0 or _is_range(steps), "empty, or (first, last) with 1 <= first <= last"
    ),
}


def _is_crop(crop: Any) -> bool:
  inside = len(crop) == 4 and all(isinstance(edge, int) and edge >= 0 for edge in crop)
  return inside and crop[0] < crop[2] and crop[1] < crop[3]


def _is_range(steps: Any) -> bool:
  return len(steps) == 2 and all(isinstance(step, int) for step in steps) and 1 <= steps[0] <= steps[1]


def nearest(name: str, known: list[str]) -> str:
  """`name`'s nearest key among `known`, for an error message.

  A key of the same last part wins over a similar spelling.
  """
  same_leaf = [key for key in known if key.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
  close = same_leaf or difflib.get_close_matches(name, known, n=1, cutoff=0.0)
  return close[0]


def rules(method: str) -> dict[str, Rule]:
  """The rule of every key that a configuration of this method has."""
  return RULES | dict(methods.describe(method).rules)


def validate(config: ConfigDict, device_count: int) -> None:
  """Raises `UserError` for the first impossible value.

  The `device_count` devices of all processes share a batch.
  """
  if not isinstance(config.get("method"), str) or not NAME.accepts(config.method):
    raise UserError(f"config.method = {config.get('method')!r}: must be the name of a method, such as 'pdr'")
  flat, defaults = flatten(config), flatten(config_lib.base(config.method))
  for key, value in flat.items():
    if key not in defaults:
      raise UserError(f"config.{key} is unknown; did you mean config.{nearest(key, list(defaults))}?")
    _check_type(key, value, defaults[key])
  for key in defaults:
    if key not in flat:
      start = f"start from pdr_jax.config.base({config.method!r}) (default: {defaults[key]!r})"
      raise UserError(f"config.{key} is missing; {start}")
  accepted = rules(config.method)
  for key, value in flat.items():
    if isinstance(value, float) and not math.isfinite(value):
      raise UserError(f"config.{key} = {value}: must be a finite number")
    if not accepted[key].accepts(value):
      raise UserError(f"config.{key} = {value!r}: must be {accepted[key].words}")
  described = methods.describe(config.method)
  for key, words in described.unread.items():
    if flat[key] != defaults[key]:
      raise UserError(
        f"config.{key} = {flat[key]!r}: config.method={config.method} does not read it; {words}"
      )
  _check_relations(config, device_count)
  described.check(config, device_count)


def _check_type(key: str, value: Any, default: Any) -> None:
  kinds = {float: (float, int), tuple: (tuple, list)}.get(type(default), (type(default),))
  if not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(default, bool)):
    raise UserError(f"config.{key} = {value!r}: must be {type(default).__name__}, such as {default!r}")


def _check_relations(config: ConfigDict, device_count: int) -> None:
  """Rules about more than one common key, or about the machine."""
  data, optim, batch = config.data, config.optim, config.train.batch_size
  stage = methods.describe(config.method).stage
  if batch % device_count:
    raise UserError(f"config.train.batch_size = {batch}: must be a multiple of the {device_count} devices")
  if optim.warmup_steps > config.train.steps:
    most = f"config.train.steps = {config.train.steps}"
    raise UserError(f"config.optim.warmup_steps = {optim.warmup_steps}: must be at most {most}")
  if data.path and not os.path.exists(os.path.expanduser(data.path)):
    raise UserError(f"config.data.path = {data.path!r}: no such file or folder")
  if stage and not config.init_from:
    raise UserError(
      f"config.init_from is empty: config.method={config.method} starts from a trained run or an export"
    )
  if config.init_from and not stage:
    raise UserError(
      f"config.init_from = {config.init_from!r}: config.method={config.method} starts from no other run"
    )
