"""The configuration of a run: the sections that all methods share, beside the method's own.

Each key is given with its meaning. Files in `configs/` start from `base` and override.
"""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from pdr_jax import methods


def common() -> dict[str, Any]:
  """The keys that every run has."""
  return dict(
      method="pdr",               # a module of pdr_jax.methods (pdr, vae, ...), or the dotted path of another
                                  # module
      seed=0,
      init_from="",               # a second stage: the run directory or export that its first stage comes
                                  # from
      data=data(),
      optim=optim(),
      train=train(),
  )


def data() -> dict[str, Any]:
  """What is read."""
  return dict(
      name="heads",           # a module of pdr_jax.data.sources (heads, image_folder, ...), the dotted
                              # path of another module, or any TFDS name with images or videos
      path="",                # files of a source that reads its own, such as a folder or zip of images
      cache_dir="",           # where prepared datasets live; empty: TFDS_DATA_DIR or
                              # ~/tensorflow_datasets
      side=64,                # side of the square pictures
      channels=3,             # 3: colour, 1: grey
      frames=0,               # 0: single pictures, T: clips of T pictures
      train_examples=20_000,  # size of the training split; embedded worlds render this many, others take
                              # at most this many (0: all)
      val_examples=1_000,     # the same for the validation split, and for each test split of an embedded
                              # world
      scene_seed=0,           # embedded worlds: which people, lights and views are drawn
      crop=(),                # (left, top, right, bottom) in pixels of the source image, before resizing;
                              # empty: centre square
      flip=False,             # random left-right flips of training images (images without truth only)
      split_by="seed",        # image_folder: `seed` (random split) or a column of labels.csv whose values
                              # are kept apart; COLUMN:VALUE=train,VALUE=test says which is which
      label_kinds="",         # image_folder: what columns hold where the guess is wrong, such as
                              # age:numbers,zip:classes (classes, numbers or identity; of clips also
                              # sequence, frame or person)
      normalize_with="",      # an export of a method that normalises pictures (pdr): its normalised
                              # pictures take the place of the data's, before flips and augmentations
      options="",             # what the source alone can be asked for: NAME=VALUE,NAME=VALUE
      workers=0,              # Grain worker processes; 0 reads in the training process (threads)
  )


def optim() -> dict[str, Any]:
  """How the parameters descend."""
  return dict(
      learning_rate=1e-4,
      schedule="constant",    # constant | cosine (to zero over train.steps)
      warmup_steps=0,         # steps over which the learning rate grows from 0
      b1=0.9,                 # Adam's decay of the first moment
      b2=0.999,               # and of the second
      weight_decay=5e-4,      # L2 added to the gradient, as torch.optim.Adam does
      clip_norm=1.0,          # global norm of the gradient; 0 switches clipping off
      ema=0.0,                # decay of the parameters' moving average, used for validation and export;
                              # 0: none
  )


def train() -> dict[str, Any]:
  """How long a run is, and what it does on the way."""
  return dict(
      steps=70_000,
      batch_size=64,          # global
      steps_per_dispatch=1,   # steps that are sent to the device at once; cadences that are multiples of
                              # it let all steps go so
      remat=False,            # networks' activations are computed again, not kept: for memory, on GPU and
                              # TPU (XLA:CPU undoes it)
      log_every=50,           # steps
      validate_every=1_000,
      figure_every=1_000,     # 0: never
      checkpoint_every=1_000,
      gradient_norms_every=1_000,  # gradient norm of each loss term by name; 0: never
      keep_checkpoints=2,     # newest ones kept, besides the best
      best_metric="val/reconstruction",  # of a validation; chooses the best checkpoint
      best_mode="lowest",     # lowest | highest: which value of best_metric is best
      patience=0.0,           # a run stops when best_metric has not improved for this share of its steps;
                              # 0: never
      probe_examples=0,       # of train and validation, for a light linear probe of the class labels at each
                              # validation (val/probe); 0: none
      grace_seconds=25.0,     # after SIGTERM or SIGINT: how long saving may take before the process ends
                              # without
      skip_nonfinite=0,       # steps in a row with a loss or gradient that is not finite that are left
                              # out; 0 stops at the first
      stall_minutes=10.0,     # without progress for so long, a line says where the run is; 0: never
      profile_steps=(),       # (first, last): a profiler's trace of these steps goes to WORKDIR/profile
  )


def base(method: str = "pdr") -> ConfigDict:
  """The defaults of a method: the common sections and its own. Raises `UserError` for an unknown method."""
  sections = common() | {"method": method}
  for name, keys in methods.describe(method).defaults().items():
    sections[name] = sections.get(name, {}) | keys
  return ConfigDict(sections)


def for_method(config: ConfigDict, method: str) -> ConfigDict:
  """The configuration of another method.

  It keeps what `config` says otherwise than the defaults of its own method. Values of keys that the other
  method does not have or does not read are left out, `init_from` where it is no second stage. Raises
  `UserError` for an unknown method.
  """
  new, defaults, described = base(method), flatten(base(config.method)), methods.describe(method)
  known = flatten(new).keys() - {"method"} - described.unread.keys()
  known -= set() if described.stage else {"init_from"}
  for key, value in flatten(config).items():
    if key in known and value != defaults.get(key):
      _set(new, key, value)
  return new


def _set(config: ConfigDict, key: str, value: Any) -> None:
  section, _, name = key.rpartition(".")
  (config[section] if section else config)[name] = value


def variant(config: ConfigDict, names: str) -> ConfigDict:
  """Applies named variants to `config` and returns it.

  The names are separated by commas, as in `--config configs/heads.py:small,unsup3d`. A variant is what it
  says of the common keys, below, and of the method's, in the method's module. Keys that the method does not
  read stay as they are. Raises ValueError for a name that neither knows.
  """
  described, before = methods.describe(config.method), flatten(config)
  for name in filter(None, names.split(",")):
    parts = [part[name] for part in (VARIANTS, described.variants) if name in part]
    if not parts:
      raise ValueError(f"unknown config variant {name!r}; choose from {', '.join(variants(config.method))}")
    for change in parts:
      change(config)
  for key in described.unread:
    _set(config, key, before[key])
  return config


def variants(method: str) -> tuple[str, ...]:
  """The names of a method's variants."""
  return tuple(dict.fromkeys((*VARIANTS, *methods.describe(method).variants)))


def _small(config: ConfigDict) -> None:
  """32 x 32 pictures, for two CPU cores, and what a short run needs."""
  config.data.side = 32
  config.optim.update(learning_rate=3e-4, weight_decay=0.0, ema=0.99)
  config.train.update(batch_size=16, steps=10_000, validate_every=500, figure_every=500, checkpoint_every=500)
  config.train.gradient_norms_every = 500


VARIANTS: dict[str, Callable[[ConfigDict], None]] = {"small": _small}


def flatten(config: ConfigDict | dict) -> dict[str, Any]:
  """{'data': {'side': 64}} -> {'data.side': 64}, in the order of the config."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, (ConfigDict, dict)):
      flat.update({f"{key}.{name}": entry for name, entry in flatten(value).items()})
    else:
      flat[key] = value
  return flat
