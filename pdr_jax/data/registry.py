"""Which data source a configuration names, and whether it can do what the section `data` asks of it."""

import importlib
from typing import Any

from pdr_jax.data import dataset, sources, tfds_source
from pdr_jax.data.dataset import Source
from pdr_jax.errors import UserError

SMALLEST_SIDE = 8  # pixels
CHANNELS = (1, 3)


def find(name: str) -> Source:
  """The source `name`: a module of `pdr_jax.data.sources`, a module by its dotted path, or else a TFDS set.

  Raises UserError: a dotted path without such a module, or a module without `SOURCE`. Whether there is a TFDS
  set of that name shows when it is opened.
  """
  if name in sources.names():
    path = f"{sources.__name__}.{name}"
  elif "." in name and all(part.isidentifier() for part in name.split(".")):
    path = name
  else:
    return tfds_source.SOURCE
  try:
    module = importlib.import_module(path)
  except ModuleNotFoundError as error:
    raise UserError(
      f"data.name={name}: there is no module {error.name}; it must be a module that Python finds"
    ) from error
  if not isinstance(getattr(module, "SOURCE", None), Source):
    raise UserError(f"data.name={name}: the module has no SOURCE, a pdr_jax.data.dataset.Source")
  return module.SOURCE


def check(data: Any) -> Source:
  """The source of the section `data` of a configuration. Raises UserError for what that source cannot do."""
  name, source = data.name, find(data.name)
  if data.channels not in CHANNELS:
    raise UserError(f"data.channels={data.channels}: must be 1 (grey) or 3 (red, green, blue)")
  if data.side < SMALLEST_SIDE:
    raise UserError(f"data.side={data.side}: must be at least {SMALLEST_SIDE}")
  if data.frames < 0 or (data.frames and not source.clips):
    raise UserError(f"data.frames={data.frames}: {name} has single images only and needs 0")
  if source.path and not data.path:
    raise UserError(f"data.path is empty: data.name={name} needs {source.path} (--config.data.path=...)")
  if data.path and not source.path:
    raise UserError(
      f"data.path={data.path}: data.name={name} reads no path; for your own pictures use "
      "--config.data.name=image_folder, else --config.data.path=''"
    )
  if tuple(data.crop) and not source.crops:
    raise UserError(
      f"data.crop={tuple(data.crop)}: {name} has no pictures to crop; use --config.data.crop='()'"
    )
  if data.split_by != "seed" and not source.split_by_label:
    raise UserError(
      f"data.split_by={data.split_by}: only folders of pictures can be split by a label; {name} needs seed"
    )
  if data.label_kinds and not source.label_kinds:
    raise UserError(
      f"data.label_kinds={data.label_kinds}: {name} reads no table of yours, its labels have their kinds; "
      "only image_folder takes it"
    )
  dataset.options_of(data, source.options)
  return source
