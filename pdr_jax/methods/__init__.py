"""Systems that learn representations. A system is a module with one name, `METHOD`, its `Description`.

`config.method` is the name of a module of this package, or the dotted path of a module anywhere.
"""

import importlib
import pkgutil
from types import ModuleType

from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.methods.contract import (
  FIRST,
  MODEL_STATE,
  Camera,
  DepthNetwork,
  Description,
  FirstStage,
  Method,
  TrainState,
  inference_variables,
  pictures_in_order,
)

__all__ = [
  "FIRST",
  "MODEL_STATE",
  "Camera",
  "DepthNetwork",
  "Description",
  "FirstStage",
  "Method",
  "TrainState",
  "create",
  "describe",
  "inference_variables",
  "names",
  "pictures_in_order",
]


def describe(name: str) -> Description:
  """The description of the method `name`.

  Raises `UserError` that lists the methods of this package for another name.
  """
  module = _import(name if "." in name else f"{__name__}.{name}")
  if not isinstance(getattr(module, "METHOD", None), Description):
    others = "" if "." in name else f"one of {', '.join(names())}, or "
    raise UserError(f"config.method = {name!r}: must be {others}the dotted path of a module with a METHOD")
  return module.METHOD


def create(config: ConfigDict, first: FirstStage | None = None) -> Method:
  """Builds the method that `config.method` names, a second stage on top of `first`. Raises `UserError`."""
  description = describe(config.method)
  if not description.stage:
    return description.create(config)
  if first is None:
    raise UserError(
      f"config.init_from is empty: config.method={config.method} starts from a trained run or an export"
    )
  return _carrying(description.create(config, first), first)


def _carrying(method: Method, first: FirstStage) -> Method:
  """The method whose state carries the first stage's variables.

  Its checkpoints and exports are therefore complete.
  """

  def init(rng, batch):
    state = method.init(rng, batch)
    return state.replace(model_state=state.model_state | {FIRST: first.variables})

  return method._replace(init=init)


def _import(path: str) -> ModuleType | None:
  """The module, or None where there is none of this name. What its own imports raise is raised."""
  try:
    return importlib.import_module(path)
  except ModuleNotFoundError as error:
    if error.name is None or not f"{path}.".startswith(f"{error.name}."):
      raise
    return None


def names() -> list[str]:
  """The methods of this package, by a look into it."""
  names = [module.name for module in pkgutil.iter_modules(__path__)]
  return [name for name in names if hasattr(_import(f"{__name__}.{name}"), "METHOD")]
