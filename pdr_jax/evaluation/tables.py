"""The results of an evaluation as one Markdown document a person reads first; the JSON files have everything.

Tables are made of score records alone: whatever a task gives stands in one.
"""

import math
from collections.abc import Mapping

from pdr_jax.evaluation import records
from pdr_jax.evaluation.records import Result, Score

SIZES = ("train", "test", "examples")


def markdown(title: str, results: Mapping[str, Result]) -> str:
  """A document with one table a task.

  Rows are what was read and how, one column a metric, with mean and deviation over seeds. A task that could
  not run, or failed, says so.
  """
  parts = [f"# {title}", ""]
  for task, result in results.items():
    parts += [f"## {task}", ""]
    if result.skipped or result.failed:
      parts += [f"Not run: {result.skipped}." if result.skipped else f"Failed: {result.failed}", ""]
      continue
    parts += [_about(result), "", *_table(result), ""]
  return "\n".join(parts)


def _about(result: Result) -> str:
  protocol = result.protocol
  sizes = [f"{key} {protocol[key]:,}" for key in SIZES if isinstance(protocol.get(key), int)]
  words = [protocol.get("description", ""), ", ".join(sizes), f"seeds {protocol.get('seeds', '-')}"]
  return "; ".join(word for word in words if word) + "."


def _table(result: Result) -> list[str]:
  """A row for each block, label (where there are several) and solver; of a matrix the labels are columns."""
  labels = {score.label for score in result.scores}
  matrix = result.figure is not None and result.figure.kind == "matrix"
  rows: dict[str, dict[str, str]] = {}
  for score in result.scores:
    solver, _, metric = score.metric.rpartition("/")
    label = score.label if len(labels) > 1 and not matrix else ""
    row = " ".join(filter(None, (score.block, label, *solver.split("/"))))
    column = (score.label or metric) if matrix else metric
    rows.setdefault(row, {})[column] = number(score)
  columns = list(dict.fromkeys(column for row in rows.values() for column in row))
  body = [line([row or "all", *(cells.get(column, "") for column in columns)]) for row, cells in rows.items()]
  head = line(["features", *(column.replace("_", " ") for column in columns)])
  return [head, line(["---"] * (len(columns) + 1)), *body]


def number(score: Score) -> str:
  """`0.730 ± 0.012`."""
  mean, spread = records.mean(score), records.deviation(score)
  if math.isnan(mean):
    return "-"
  return f"{mean:.3f}" + (f" ± {spread:.3f}" if spread is not None else "")


def line(cells: list[str]) -> str:
  """A line of a Markdown table."""
  return "| " + " | ".join(cells) + " |"
