"""What a study asks for: which runs there are, and the configuration of each.

A method is a name of `pdr_jax.methods` or a dotted path, with variants of its configuration behind a colon
(`pdr:unsup3d`), or a representation that nothing is trained for (`random`, `pca`, `pixels`). A variant is one
of the method's or one of the study's own `changes`.
"""

import json
import os
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from pdr_jax import config as config_lib
from pdr_jax import config_checks, methods
from pdr_jax.config_checks import nearest
from pdr_jax.errors import UserError
from pdr_jax.evaluation import records
from pdr_jax.evaluation.representations import UNTRAINED
from pdr_jax.training import run_dir

KEYS = ("methods", "seeds", "run", "evaluation")  # that every study has


class Entry(NamedTuple):
  """One run of a study.

  Attributes:
    method, seed: which it is.
    run, evaluation: its configurations.
    folder: where it is.
    key: changes with what the run is to be.
  """

  method: str
  seed: int
  run: ConfigDict
  evaluation: ConfigDict
  folder: str
  key: str

  @property
  def name(self) -> str:
    """`pdr_unsup3d/seed_0`, as its folder is called in the study's."""
    return "/".join(self.folder.split(os.sep)[-2:])

  @property
  def trained(self) -> bool:
    """Whether anything is trained."""
    return self.method not in UNTRAINED

  @property
  def representation(self) -> str:
    """What an evaluation calls it."""
    return "trained" if self.trained else self.method


def check(config: ConfigDict) -> None:
  """Raises `UserError` for a configuration that is no study."""
  missing = [key for key in KEYS if key not in config]
  if missing:
    raise UserError(f"the configuration is no study: it has no {missing[0]!r} (it needs {', '.join(KEYS)})")
  if config.seeds < 1:
    raise UserError(f"config.seeds = {config.seeds}: must be at least 1")


def plan(config: ConfigDict, workdir: str) -> list[Entry]:
  """The runs in their order. Raises `UserError` for a configuration that cannot be."""
  check(config)
  runs = {method: configuration(config, method) for method in config.methods}
  for run in runs.values():
    config_checks.validate(run, jax.device_count())
  _check_budget(runs)
  entries = []
  for seed in range(config.seeds):
    for method, run in runs.items():
      if seed and method in UNTRAINED and not UNTRAINED[method].seeded:
        continue  # the same for every seed
      run = run.copy_and_resolve_references()
      run.seed = seed
      folder = os.path.join(workdir, method.replace(":", "_"), f"seed_{seed}")
      entries.append(Entry(method, seed, run, config.evaluation, folder, _key(run, config.evaluation)))
  return entries


def configuration(config: ConfigDict, method: str) -> ConfigDict:
  """The training configuration of a method of the study."""
  run = config.run
  if method in UNTRAINED:
    return config_lib.for_method(run, run.method)
  name, _, variants = method.partition(":")
  changes = config.get("changes", ConfigDict())
  try:
    run = config_lib.for_method(run, name)
    for variant in filter(None, variants.split(",")):
      run = _changed(run, changes[variant]) if variant in changes else config_lib.variant(run, variant)
  except (UserError, ValueError) as error:
    raise UserError(f"config.methods: {method}: {error}") from error
  if config.get("pictures", 0):
    run.train.steps = -(-config.pictures // run.train.batch_size)
  return run


def _changed(run: ConfigDict, change: ConfigDict) -> ConfigDict:
  """The configuration with some keys changed. Raises ValueError for a key that it does not have."""
  known = config_lib.flatten(run)
  for key, value in config_lib.flatten(change).items():
    if key not in known:
      raise ValueError(f"config.changes: {key} is unknown; did you mean {nearest(key, list(known))}?")
    section, _, name = key.rpartition(".")
    target = run
    for part in filter(None, section.split(".")):
      target = target[part]
    target[name] = value
  return run


def _check_budget(runs: dict[str, ConfigDict]) -> None:
  """Raises `UserError` where one trained method may see more pictures than another."""
  trained = {method: run for method, run in runs.items() if method not in UNTRAINED}
  sizes = {method: run.train.steps * run.train.batch_size for method, run in trained.items()}
  # Rounding up to whole batches is no difference.
  slack = max((run.train.batch_size for run in trained.values()), default=0)
  if sizes and max(sizes.values()) - min(sizes.values()) >= slack:
    most, least = max(sizes, key=sizes.get), min(sizes, key=sizes.get)
    raise UserError(
        f"the budgets differ: {most} may see {sizes[most]:,} pictures, {least} {sizes[least]:,}; set "
        "config.pictures, which is the same for all"
    )


def _key(run: ConfigDict, evaluation: ConfigDict) -> str:
  """Changes with what is trained and what is evaluated, and not with where the data of the run lie.

  A folder that the evaluation names is other data; none is that of the run.
  """
  trained, evaluated = config_lib.flatten(run), config_lib.flatten(evaluation)
  elsewhere = (*run_dir.FREE, *run_dir.MOVED)
  asked = {
      "run": {key: value for key, value in trained.items() if key not in elsewhere},
      "evaluation": {key: value for key, value in evaluated.items() if value or key not in run_dir.MOVED},
      "format": records.FORMAT,
  }
  version = methods.describe(run.method).version
  asked |= {"version": version} if version > 1 else {}
  return f"{zlib.crc32(json.dumps(asked, sort_keys=True, default=str).encode()):08x}"


def select(entries: Sequence[Entry], only: Sequence[str]) -> list[Entry]:
  """The entries that `only` names, by their name or by their method; all where it names none.

  Raises `UserError` for what names none.
  """
  chosen = []
  for name in only:
    these = [entry for entry in entries if name in (entry.name, entry.method)]
    if not these:
      near = nearest(name, [entry.name for entry in entries])
      raise UserError(f"--only {name}: no run of the study has that name; did you mean {near}?")
    chosen += [entry for entry in these if entry not in chosen]
  return chosen if only else list(entries)


def from_plain(value: Any) -> Any:
  """A configuration as JSON has it: lists become tuples."""

  def tuples(entry: Any) -> Any:
    if isinstance(entry, dict):
      return {key: tuples(inner) for key, inner in entry.items()}
    return tuple(map(tuples, entry)) if isinstance(entry, list) else entry

  return ConfigDict(tuples(value))
