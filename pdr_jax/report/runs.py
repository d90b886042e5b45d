"""What the report reads of a run directory or of a study's: metrics, summary, results and tables.

No model is loaded.
"""

import glob
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.evaluation import learning, study_file
from pdr_jax.evaluation.joined import Curves
from pdr_jax.evaluation.records import MEDIA, Result
from pdr_jax.evaluation.run import FOLDER, read_results
from pdr_jax.training import run_dir
from pdr_jax.training.metric_log import read_metrics


class Run(NamedTuple):
  """A run, or a study of runs (`config` is None).

  Attributes:
    name: short, and unlike that of the others in the report.
    workdir: its folder.
    config: as it was resolved.
    records: the lines of `metrics.jsonl`.
    summary: `summary.json`, empty before the end of training.
    tables: Markdown documents, `table.md` of each evaluation and `study.md`.
    results: `{method: [{task: result}, ...]}`, one entry a seed; of a single run `{its name: [results]}`.
    media: `(title, file's bytes)` of pictures and animations of the evaluation, PNG or GIF.
    probe: of a study, curves of the light probe over training.
  """

  name: str
  workdir: str
  config: ConfigDict | None
  records: list[dict[str, float]]
  summary: dict[str, Any]
  tables: list[str]
  results: dict[str, list[dict[str, Result]]]
  media: tuple[tuple[str, bytes], ...] = ()
  probe: tuple[Curves, ...] = ()


def read(workdirs: Sequence[str]) -> list[Run]:
  """The runs in the order given.

  Raises `UserError` for a folder that is neither run nor study, or is named twice.
  """
  paths = [os.path.abspath(os.path.expanduser(workdir)) for workdir in workdirs]
  for path in paths:
    if paths.count(path) > 1:
      raise UserError(f"--workdir {path} is named twice")
  short = [os.path.basename(path) for path in paths]
  names = [
      name if short.count(name) == 1 else os.path.relpath(path, os.path.commonpath(paths))
      for name, path in zip(short, paths, strict=True)
  ]
  return [_read(path, name) for path, name in zip(paths, names, strict=True)]


def _read(workdir: str, name: str) -> Run:
  if study_file.is_study(workdir):
    return _read_study(workdir, name)
  config = run_dir.read_config(workdir)
  results = read_results(workdir)
  pattern = os.path.join(glob.escape(workdir), FOLDER, "**", "table.md")
  tables = [_text(path) for path in sorted(glob.glob(pattern, recursive=True))]
  path = os.path.join(workdir, run_dir.SUMMARY)
  summary = _json(path) if os.path.exists(path) else {}
  by_method = {name: [results]} if results else {}
  media = _media(os.path.join(workdir, FOLDER), results)
  return Run(name, workdir, config, read_metrics(workdir), summary, tables, by_method, media)


def _media(folder: str, results: dict[str, Result]) -> tuple[tuple[str, bytes], ...]:
  """The pictures and animations of results that are still there."""
  found = []
  for result in results.values():
    for name, title in result.details.get(MEDIA, {}).items():
      path = os.path.join(folder, os.path.basename(name))
      if os.path.exists(path):
        with open(path, "rb") as file:
          found.append((f"{result.task}: {title}", file.read()))
  return tuple(found)


def _read_study(workdir: str, name: str) -> Run:
  study = study_file.read(workdir)
  results, probe = study_file.results(study), learning.curves(study.methods)
  path = os.path.join(workdir, study_file.TABLE)
  tables = [_text(path)] if os.path.exists(path) else []
  return Run(name, workdir, None, [], {}, tables, results, probe=tuple(probe))


def _json(path: str) -> dict:
  try:
    value = json.loads(_text(path))
  except ValueError as error:
    raise UserError(f"{path} is not valid JSON ({error}): mend or delete it") from None
  if not isinstance(value, dict):
    raise UserError(f"{path} is not what pdr_jax has written there: mend or delete it")
  return value


def _text(path: str) -> str:
  try:
    with open(path, encoding="utf-8") as file:
      return file.read()
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f"{path} cannot be read ({error})") from error
