"""`study.json`: what a study of many methods holds. The study writes it, and reports read it."""

import json
import os
from typing import Any, NamedTuple

from pdr_jax.errors import UserError
from pdr_jax.evaluation import joined, representations, run
from pdr_jax.evaluation.joined import Row
from pdr_jax.evaluation.records import Result
from pdr_jax.files import write_json

NAME, TABLE = "study.json", "study.md"
EARLIER = "suite.json"  # what it was called before
FORMAT = 3  # the first had scores without records, the second was called suite.json


class Study(NamedTuple):
  """The methods of a study with the folders of their runs, one a seed, and what failed: `{run: reason}`."""

  methods: dict[str, list[str]]
  failed: dict[str, str]


def write(workdir: str, study: Study, rows: list[Row], config: dict[str, Any]) -> None:
  """Writes the file; folders in it are relative to it."""
  folders = {
      method: [os.path.relpath(folder, workdir) for folder in runs] for method, runs in study.methods.items()
  }
  write_json(os.path.join(workdir, NAME), {
      "format": FORMAT,
      "methods": folders,
      "rows": [joined.to_plain(row) for row in rows],
      "failed": study.failed,
      "config": config,
  })


def is_study(workdir: str) -> bool:
  """Whether a folder holds a study."""
  return any(os.path.exists(os.path.join(workdir, name)) for name in (NAME, EARLIER))


def read_config(workdir: str) -> dict[str, Any]:
  """The study's configuration. Raises `UserError` as `read` does."""
  config = _load(workdir).get("config")
  if not isinstance(config, dict):
    raise UserError(f"{os.path.join(workdir, NAME)} is damaged (it has no configuration): give --config")
  return config


def read(workdir: str) -> Study:
  """Raises `UserError`, which names the file: it cannot be read, is damaged, or of an earlier version."""
  value, path = _load(workdir), os.path.join(workdir, NAME)
  try:
    methods = {
        method: [os.path.join(workdir, folder) for folder in folders]
        for method, folders in value["methods"].items()
    }
    return Study(methods, {str(name): str(reason) for name, reason in value["failed"].items()})
  except (KeyError, TypeError, AttributeError) as error:
    raise UserError(f"{path} is damaged ({type(error).__name__}: {error}): run the study again") from None


def results(study: Study) -> dict[str, list[dict[str, Result]]]:
  """What every run of a study gave, by method, one evaluation a seed."""
  by_method = {}
  for method, folders in study.methods.items():
    name = method if method in representations.UNTRAINED else "trained"
    seeds = [run.read_results(folder, name) for folder in folders]
    if any(seeds):
      by_method[method] = [seed for seed in seeds if seed]
  return by_method


def _load(workdir: str) -> dict[str, Any]:
  path, again = os.path.join(workdir, NAME), "run the study again, which continues"
  if not os.path.exists(path) and is_study(workdir):
    path = os.path.join(workdir, EARLIER)
  try:
    with open(path, encoding="utf-8") as file:
      value = json.load(file)
    version = value.get("format", 1)
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f"{path} cannot be read ({error})") from None
  except (ValueError, AttributeError) as error:
    raise UserError(f"{path} is not valid JSON ({error}): {again}") from None
  if version != FORMAT:
    raise UserError(
        f"{path} was written by another version of pdr_jax (format {version}, this one reads {FORMAT}): run "
        "python -m pdr_jax.study with the same --config and --workdir, which evaluates anew what is trained "
        "already"
    )
  return value
