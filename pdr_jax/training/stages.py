"""Second stages: methods that start from the inference variables of another run, or of an export.

The first stage is read once, at the start of a run. From then on its variables travel in the state of the
second, and its configuration in `first_stage.json` beside `config.json`, so that resuming, evaluation and
export need not find it again.

A record is `{"config": resolved configuration, "first": record of its own first stage or None}`.
"""

import json
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from pdr_jax import elements, methods
from pdr_jax.errors import UserError
from pdr_jax.files import absolute, write_json
from pdr_jax.methods import FirstStage, Method, inference_variables
from pdr_jax.training import checkpoints, distributed, run_dir

RECORD = "first_stage.json"
Record = dict[str, Any]


class Opened(NamedTuple):
  """The method of a run, and the record of its first stage (None where it has none)."""

  method: Method
  record: Record | None


def read_run(folder: str) -> tuple[Record, dict]:
  """The record of a run directory, and the inference variables of its best checkpoint. Raises `UserError`."""
  variables, _ = checkpoints.load_variables(folder, "best")
  return record_of(folder), variables


def record_of(folder: str) -> Record:
  """The record of a run directory or an export. Raises `UserError`."""
  config = run_dir.read_config(folder)
  stage = methods.describe(config.method).stage
  return {"config": config.to_dict(), "first": _read(folder) if stage else None}


def record_of_first(config: ConfigDict) -> Record | None:
  """The record of the first stage that a configuration names, None without one. Raises `UserError`."""
  stage = methods.describe(config.method).stage
  return record_of(absolute(config.init_from)) if stage else None


def open_method(
    config: ConfigDict, workdir: str, *, resumes: bool, read: Callable[[str], tuple[Record, dict]] = read_run
) -> Opened:
  """The method of a run that starts or, with `resumes`, continues from a checkpoint.

  All processes call it together.

  Args:
    config: the run's; `init_from` names the first stage.
    workdir: the run directory.
    resumes: the state comes from a checkpoint and holds the first stage's variables; only the first process
      knows.
    read: `folder -> (record, inference variables)` of a run directory, or of whatever else `init_from` may
      be.
  """
  if not methods.describe(config.method).stage:
    return Opened(methods.create(config), None)
  record = variables = None
  if jax.process_index() == 0:
    record, variables = (_read(workdir), None) if resumes else read(absolute(config.init_from))
  record, resumes = distributed.json_from_first([record, variables is None])
  first = _from_record(record, f"{RECORD} of {workdir}")
  if not resumes:
    if variables is not None:
      checkpoints.check_variables(variables, first.variables)
    first = first._replace(variables=distributed.arrays_from_first(variables))
  return Opened(methods.create(config, first), record)


def method_of(config: ConfigDict, folder: str) -> Method:
  """The method of a run directory or an export that exists already, for evaluation.

  Its variables are loaded apart.
  """
  if not methods.describe(config.method).stage:
    return methods.create(config)
  return methods.create(config, _from_record(_read(folder), os.path.join(folder, RECORD)))


def write_record(workdir: str, record: Record | None) -> None:
  """Writes the record of the first stage, where there is one, into a run directory or an export."""
  if record is not None and jax.process_index() == 0:
    write_json(os.path.join(workdir, RECORD), record)


def _read(folder: str) -> Record:
  path = os.path.join(folder, RECORD)
  try:
    record = json.loads(epath.Path(path).read_text())
    record["config"]["method"]
  except FileNotFoundError:
    raise UserError(f"{folder} lacks {RECORD}, which says what its first stage was") from None
  except (json.JSONDecodeError, KeyError, TypeError) as error:
    raise UserError(f"{path} cannot be read ({type(error).__name__}: {error})") from None
  return record


def _from_record(record: Record, where: str) -> FirstStage:
  """The first stage with zeros as its variables."""
  config = run_dir.from_json(record["config"], where)
  first = _from_record(record["first"], where) if record.get("first") else None
  method = methods.create(config, first)
  example = elements.zeros(methods.describe(config.method).reads(config), 1)
  shapes = inference_variables(jax.eval_shape(method.init, jax.random.key(0), example))
  return FirstStage(config, method, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
