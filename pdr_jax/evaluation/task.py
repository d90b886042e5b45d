"""What a downstream task is, how tasks are found, and what they read.

A task is one module with a name `TASK`: a file in `evaluation/tasks/`, found by the module's name, or any
module that `config.tasks` names by its dotted path (`support.toy_task`).
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.evaluation.features import Features, is_class, values
from pdr_jax.evaluation.records import Result
from pdr_jax.evaluation.representations import Representation

PACKAGE = "pdr_jax.evaluation.tasks"  # whose modules are tasks
ATTRIBUTES = "attributes"  # what scores are called that are means over all attributes


class Context(NamedTuple):
  """What a job may read.

  Attributes:
    config: of the evaluation (`evaluation.config`).
    settings: the task's own section of it.
    run: configuration of the encoders, with the evaluation's data.
    representation: what is evaluated.
    train, test: features and labels; `test_split` is the name of `test`.
    outside: gives the features of the splits beyond the training range (`test_light`, `test_view`), where
      there are such.
    say: takes a line for the user.
    also: what the task's `also_reads` gives.
  """

  config: ConfigDict
  settings: ConfigDict
  run: ConfigDict
  representation: Representation
  train: Features
  test: Features
  test_split: str
  outside: Mapping[str, Callable[[], Features]]
  say: Callable[[str], None]
  also: Mapping[str, Any] = MappingProxyType({})

  @property
  def seeds(self) -> range:
    """Of the probes."""
    return range(self.config.seeds)

  @property
  def probes(self) -> dict[str, Any]:
    """What every probe is told: its seeds, and the label of the person, where people repeat."""
    return {"seeds": self.seeds, "identity": self.config.identity}


Job = tuple[str, Callable[[], Result]]  # its name, such as `linear/emotion`, and what computes it


class Task(NamedTuple):
  """A downstream task.

  Attributes:
    jobs: `context -> jobs`: one for each label, or part of the data, that the task can say something about;
      none where the data has nothing for it.
    defaults: its section of the evaluation's configuration: keys with their values.
    order: its place among the tasks, in tables; the smaller, the earlier.
    by_default: whether an evaluation includes it that does not ask for tasks.
    also_reads: `settings -> tree`: what its results depend on beside the features, the method and the
      settings, such as other runs that these name.
  """

  jobs: Callable[[Context], Iterator[Job]]
  defaults: Callable[[], dict[str, Any]] = dict
  order: int = 1000
  by_default: bool = True
  also_reads: Callable[[ConfigDict], dict[str, Any]] = lambda settings: {}


def names() -> list[str]:
  """The tasks of `evaluation/tasks/`, in their order."""
  package = importlib.import_module(PACKAGE)
  modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
  return sorted(modules, key=lambda name: (find(name).order, name))


@functools.cache
def find(name: str) -> Task:
  """The task of a module: a name in `evaluation/tasks/`, or a dotted path. Raises `UserError`."""
  path = name if "." in name else f"{PACKAGE}.{name}"
  try:
    module = importlib.import_module(path)
  except ModuleNotFoundError as error:
    if error.name is None or not (path == error.name or path.startswith(f"{error.name}.")):
      raise  # the module is there, and something that it imports is not
    raise UserError(
        f"config.tasks: {name!r} is unknown; choose from {', '.join(names())}, or give the dotted path of a "
        "module with a TASK"
    ) from None
  task = getattr(module, "TASK", None)
  if not isinstance(task, Task):
    raise UserError(f"config.tasks: the module {name} has no TASK")
  return task


def section(name: str) -> str:
  """The name of a task's section in the configuration: the last part of its path."""
  return name.rpartition(".")[2]


def settings(config: ConfigDict, name: str) -> ConfigDict:
  """A task's section; its defaults where the configuration does not have it.

  A task by a dotted path has no section, for example.
  """
  key = section(name)
  return config[key] if key in config else ConfigDict(find(name).defaults())


def attributes(context: Context) -> list[str]:
  """The labels of classes 0 and 1 that are asked for, each of which is there or not.

  Unknown labels count as such. Without any in the configuration all are, but for those whose rarer value
  train has fewer than twice (`bald`, in a small set).
  """
  return [name for name in _named(context) if _is_binary(context.train, name)]


def classes(context: Context) -> list[str]:
  """The labels of several classes that are asked for, without the identity."""
  return [name for name in _named(context) if not _is_binary(context.train, name)]


def numbers(context: Context) -> list[str]:
  """The labels of numbers that are asked for, without those that make up a factor (`light/0`).

  Without any in the configuration all are, but for those that do not vary in train.
  """
  train, asked = context.train, list(context.config.labels)
  if not asked:
    asked = [name for name in train.labels if len(np.unique(values(train, name))) > 1]
  return [
      name
      for name in asked
      if name in train.labels and not is_class(train, name) and "/" not in name and name[0] != "_"
  ]


def in_words(features: Features) -> str:
  """The labels of a split, for a message."""
  kinds = [
      f"{name} ({'classes' if is_class(features, name) else 'numbers'})" for name in sorted(features.labels)
  ]
  return ", ".join(kinds) or "no labels"


def _named(context: Context) -> list[str]:
  train, asked = context.train, list(context.config.labels)
  if not asked:
    asked = [name for name in train.labels if is_class(train, name) and not _rare(values(train, name))]
  known = [name for name in asked if name not in train.labels or is_class(train, name)]
  return [name for name in known if name != context.config.identity]


def _is_binary(train: Features, name: str) -> bool:
  return name not in train.labels or set(np.unique(values(train, name))) <= {0, 1}


def _rare(known: np.ndarray) -> bool:
  """Whether they are those of an attribute with a single example of its rarer value, or none."""
  return bool(known.max(initial=-1) <= 1 and min(np.sum(known == 0), np.sum(known == 1)) < 2)

