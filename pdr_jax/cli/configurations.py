"""Turns the words of a command line (a name or path, `--config.KEY=VALUE`) into a `ConfigDict`."""

import ast
import difflib
import functools
import importlib.util
import inspect
import operator
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.files import absolute

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Shipped configurations: in an installed package, and in a checkout.
FOLDERS = (os.path.join(PACKAGE, "configs"), os.path.join(os.path.dirname(PACKAGE), "configs"))
TRUE, FALSE = ("true", "t", "1"), ("false", "f", "0")


class Override(NamedTuple):
  """`--config.KEY=TEXT`. `text` is None for `--config.KEY` alone."""

  key: str
  text: str | None


def split_words(words: list[str]) -> tuple[list[str], list[Override]]:
  """The words of a command line without those about a key of the configuration, and these.

  `--config.KEY=VALUE`, `--config.KEY VALUE`, `--config.KEY` (true) and `--noconfig.KEY` (false) are about
  keys.
  """
  rest, overrides, open_key = [], [], False
  for word in words:
    name, equals, text = word.partition("=")
    if open_key and not word.startswith("-"):
      overrides[-1] = Override(overrides[-1].key, word)
      open_key = False
    elif name.startswith(("--config.", "-config.")):
      overrides.append(Override(name.split(".", 1)[1], text if equals else None))
      open_key = not equals
    elif name.startswith("--noconfig."):
      overrides.append(Override(name.split(".", 1)[1], "false"))
      open_key = False
    else:
      rest.append(word)
      open_key = False
  return rest, overrides


def resolve(
  where: str | None, overrides: list[Override], default: Callable[[], ConfigDict] | None = None
) -> ConfigDict:
  """The configuration that `--config` names (`default` without one), with the overrides applied; locked.

  `method` comes before all other keys, because it decides which keys there are. Raises `UserError`.
  """
  if where is None and default is None:
    raise UserError("--config is missing: name a configuration, such as --config quickstart")
  config = default() if where is None else load(where)
  config.unlock()
  methods = [override for override in overrides if override.key == "method" and override.text]
  if methods and "method" in config:
    config = _with_method(config, methods[-1].text)
  for override in overrides:
    apply(config, override)
  _choose_source(config, {override.key for override in overrides})
  _make_absolute(config)
  return config.lock()


def _choose_source(config: ConfigDict, given: set[str]) -> None:
  """A path without a name, for a set that reads none, is one of the user's pictures. A line says so."""
  if "data.path" not in given or "data.name" in given or not config.data.path or not config.data.name:
    return
  from pdr_jax.data import registry

  if not registry.find(config.data.name).path:
    print(f"data.path is given, and {config.data.name} reads none: data.name=image_folder is used")
    config.data.name = "image_folder"


def _make_absolute(config: ConfigDict) -> None:
  """Paths are stored absolute, so that a run can be continued and evaluated from any folder."""
  from pdr_jax.config import flatten
  from pdr_jax.config_checks import RULES, rules
  from pdr_jax.rules import PATH

  run = config.get("run", config)  # a study has a training configuration inside, an evaluation has none
  known = rules(run.method) if "method" in run else RULES
  for key, value in flatten(config).items():
    if value and known.get(key.removeprefix("evaluation.").removeprefix("run.")) is PATH:
      *sections, name = key.split(".")
      functools.reduce(operator.getitem, sections, config)[name] = absolute(value)


def load(where: str) -> ConfigDict:
  """The configuration `NAME_OR_PATH[:VARIANT,...]`. Raises `UserError`."""
  name, _, variants = where.partition(":")
  path = find(name)
  spec = importlib.util.spec_from_file_location("pdr_jax_configuration", path)
  if spec is None:
    raise UserError(
      f"--config {name} is no Python file: name a shipped configuration, or a file that ends in .py"
    )
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    get_config = module.get_config
    if variants and not inspect.signature(get_config).parameters:
      raise UserError(f"config file {path} has no variants: leave out :{variants}")
    config = get_config(variants) if variants else get_config()
  except (UserError, ValueError) as error:  # what our own configurations raise is a sentence
    raise UserError(f"config file {path}: {_last_line(error)}") from error
  except Exception as error:  # the file is the user's own code: whatever it raises
    raise UserError(f"config file {path}: {type(error).__name__}: {_last_line(error)}") from error
  if not isinstance(config, ConfigDict):
    raise UserError(f"config file {path}: get_config() returns {type(config).__name__} and not a ConfigDict")
  return config


def find(name: str) -> str:
  """The file of a configuration: the path as it is, else a shipped one of that name or path.

  Raises `UserError` where there is none. `quickstart`, `configs/quickstart.py` and `eval/yale_b` name shipped
  ones from any folder.
  """
  path = os.path.expanduser(name)
  if os.path.isfile(path):
    return path
  available = shipped()
  stem = name.replace(os.sep, "/").removeprefix("./").removeprefix("configs/").removesuffix(".py")
  if stem in available:
    return available[stem]
  by_last_part = [key for key in available if key.split("/")[-1] == stem]
  if len(by_last_part) == 1:
    return available[by_last_part[0]]
  near = difflib.get_close_matches(stem.split("/")[-1], available, n=2, cutoff=0.6)
  advice = f"did you mean {' or '.join(near)}? " if near else ""
  raise UserError(
    f"--config {name}: no such file, and no shipped configuration has that name; "
    f"{advice}There are {', '.join(available)}"
  )


def shipped() -> dict[str, str]:
  """The configurations that come with the package: name, such as `quickstart` or `eval/suite` -> file."""
  folder = next((folder for folder in FOLDERS if os.path.isfile(os.path.join(folder, "quickstart.py"))), None)
  if folder is None:
    return {}
  files = {}
  for place, _, names in sorted(os.walk(folder)):
    for name in sorted(names):
      if name.endswith(".py") and not name.startswith("_"):
        path = os.path.join(place, name)
        files[os.path.relpath(path, folder).removesuffix(".py").replace(os.sep, "/")] = path
  return files


def apply(config: ConfigDict, override: Override) -> None:
  """Sets one value in `config`.

  Raises `UserError`: no such key, a section, or a text that is no value of its type.
  """
  from pdr_jax.config_checks import flatten, nearest  # JAX: only now, so that --help answers at once

  known = flatten(config)
  key, text = override
  sections = {name[:i] for name in known for i in range(len(name)) if name[i] == "."}
  if key in sections:
    raise UserError(
      f"config.{key} is a section: set one of its keys, such as config.{nearest(key, list(known))}"
    )
  if key not in known:
    raise UserError(f"config.{key} is unknown; did you mean config.{nearest(key, list(known))}?")
  if text is None:
    if not isinstance(known[key], bool):
      raise UserError(f"config.{key} has no value: write --config.{key}=VALUE, such as {known[key]!r}")
    text = "true"
  try:
    value = value_of(text, known[key])
  except (ValueError, OverflowError):
    expected = f"{type(known[key]).__name__}, such as {known[key]!r}"
    raise UserError(f"config.{key} = {text}: must be {expected}") from None
  *path, last = key.split(".")
  section = config
  for name in path:
    section = section[name]
  section[last] = value


def value_of(text: str, like: Any) -> Any:
  """The value that a text writes, of the type of `like`. Nothing in the text is run. Raises ValueError."""
  if isinstance(like, bool):
    if text.lower() not in (*TRUE, *FALSE):
      raise ValueError(text)
    return text.lower() in TRUE
  if isinstance(like, (int, float)):
    return type(like)(text)
  if isinstance(like, (tuple, list)):
    return _tuple_of(text)
  return text


def _tuple_of(text: str) -> tuple:
  """`('a', 'b')`, `[1, 2]`, `1, 2` and `a,b` are tuples; one value alone is a tuple of one."""
  try:
    value = ast.literal_eval(text.strip())
  except (ValueError, SyntaxError, MemoryError, RecursionError):
    if any(mark in text for mark in "()[]{}'\""):  # was meant as Python, and is not
      raise ValueError(text) from None
    value = tuple(part.strip() for part in text.split(","))
  if isinstance(value, (tuple, list)):
    return tuple(value)
  if isinstance(value, (dict, set)):
    raise ValueError(text)
  return (value,)


def _with_method(config: ConfigDict, name: str) -> ConfigDict:
  from pdr_jax import config as config_lib

  return config_lib.for_method(config, name)


def _last_line(error: Exception) -> str:
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  return lines[-1] if lines else type(error).__name__
