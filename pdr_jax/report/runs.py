"""What the report reads of a run directory or of a suite's: metrics, summary, evaluation results and tables. No model is loaded."""

import glob
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.training import run_dir

EVALUATION = "evaluation"
SUITE = "suite.json"
PARTS = ("robustness_", "linear_", "few_shot_", "clustering_", "identification_", "finetune_")  # tasks whose files carry a label or factor


class Run(NamedTuple):
  """A run, or a suite of runs (`config` is None).

  Attributes:
    name: short, and unlike that of the others in the report.
    workdir: its folder.
    config: as it was resolved.
    records: the lines of `metrics.jsonl`.
    summary: `summary.json`, empty before the end of training.
    tables: Markdown documents, `table.md` of each evaluation and `suite.md`.
    results: `{method: [{task: result}, ...]}`, one entry a seed; of a single run `{its name: [results]}`.
  """

  name: str
  workdir: str
  config: ConfigDict | None
  records: list[dict[str, float]]
  summary: dict[str, Any]
  tables: list[str]
  results: dict[str, list[dict[str, dict]]]


def read(workdirs: Sequence[str]) -> list[Run]:
  """The runs in the order given. Raises `UserError` for a folder that is neither a run nor a suite, or is named twice."""
  paths = [os.path.abspath(os.path.expanduser(workdir)) for workdir in workdirs]
  for path in paths:
    if paths.count(path) > 1:
      raise UserError(f"--workdir {path} is named twice")
  short = [os.path.basename(path) for path in paths]
  names = [name if short.count(name) == 1 else os.path.relpath(path, os.path.commonpath(paths))
           for name, path in zip(short, paths, strict=True)]
  return [_read_one(path, name) for path, name in zip(paths, names, strict=True)]


def _read_one(workdir: str, name: str) -> Run:
  if os.path.exists(os.path.join(workdir, SUITE)):
    return _read_suite(workdir, name)
  config = run_dir.read_config(workdir)
  results = _results(workdir)
  tables = [_text(path) for path in sorted(glob.glob(os.path.join(glob.escape(workdir), EVALUATION, "**", "table.md"), recursive=True))]
  path = os.path.join(workdir, run_dir.SUMMARY)
  summary = _json(path) if os.path.exists(path) else {}
  return Run(name, workdir, config, _records(workdir), summary, tables, {name: [results]} if results else {})


def _read_suite(workdir: str, name: str) -> Run:
  found = _json(os.path.join(workdir, SUITE))
  results = {}
  for method in found.get("methods", []):
    folders = sorted(glob.glob(os.path.join(glob.escape(workdir), method.replace(":", "_"), "seed_*")))
    seeds = [seed for folder in folders if (seed := _results(folder, "" if method not in ("random", "pca", "pixels") else method))]
    results |= {method: seeds} if seeds else {}
  path = os.path.join(workdir, "suite.md")
  return Run(name, workdir, None, [], {}, [_text(path)] if os.path.exists(path) else [], results)


def _results(workdir: str, method: str = "") -> dict[str, dict]:
  """`{task: result}` of an evaluation's JSON files; `robustness_light.json` is the task `robustness/light`."""
  results = {}
  for path in sorted(glob.glob(os.path.join(glob.escape(workdir), EVALUATION, method, "*.json"))):
    task = os.path.basename(path).removesuffix(".json")
    part = next((part for part in PARTS if task.startswith(part)), None)
    results[f"{part[:-1]}/{task.removeprefix(part)}" if part else task] = _json(path)
  return results


def _records(workdir: str) -> list[dict[str, float]]:
  """`metrics.jsonl`; a last line that a killed process left half-written is passed over."""
  path = os.path.join(workdir, run_dir.METRICS)
  if not os.path.exists(path):
    return []
  records, lines = [], _text(path).splitlines()
  for number, line in enumerate(lines, 1):
    try:
      records.append(json.loads(line))
    except ValueError as error:
      if number < len(lines):
        raise UserError(f"{path}, line {number}, is not JSON ({error}): delete that line") from None
  return records


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
