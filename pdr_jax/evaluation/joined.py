"""Results of several evaluations side by side: one row a headline, one column a method.

What their figures show is here too. Everything here is made of score records. Methods, tasks and labels are
whatever the records name.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pdr_jax.evaluation import records
from pdr_jax.evaluation.records import Figure, Outcomes, Result, Score

Evaluation = Mapping[str, Result]  # what one evaluation gave, by task
Results = Mapping[str, Sequence[Evaluation]]  # by method, one evaluation for each of its seeds
Point = tuple[float, float, float]  # place, mean, deviation


class Cell(NamedTuple):
  """A score of one method.

  Attributes:
    mean: over representations and probes.
    std: deviation over representations; None for a single one.
    per_seed: the mean over probes of each representation.
    probe_std: mean over representations of the deviation over probes; None for a single probe.
  """

  mean: float
  std: float | None
  per_seed: list[float]
  probe_std: float | None


class Row(NamedTuple):
  """A headline: which side is better, and the cells by (method, block); block "" is all features."""

  title: str
  direction: str
  cells: dict[tuple[str, str], Cell]


Samples = list[tuple[Score, Outcomes | None]]  # of one method and block, one for each of its evaluations


def rows(results: Results) -> list[Row]:
  """One row for each headline among the records, in the order in which they first come."""
  return rows_of(samples(results))


def rows_of(every: Mapping[str, Mapping[tuple[str, str], Samples]]) -> list[Row]:
  """The rows of `samples`."""
  return [_row(title, columns) for title, columns in every.items()]


def samples(results: Results) -> dict[str, dict[tuple[str, str], Samples]]:
  """What each row is made of: `{headline: {(method, block): a score and its outcomes per evaluation}}`."""
  every: dict[str, dict[tuple[str, str], Samples]] = {}
  for method, evaluations in results.items():
    for evaluation in evaluations:
      for title, blocks in _headlines(evaluation).items():
        whole = records.widest(list(blocks))
        for block, sample in blocks.items():
          column = method, "" if block == whole else block
          every.setdefault(title, {}).setdefault(column, []).append(sample)
  return every


def _headlines(evaluation: Evaluation) -> dict[str, dict[str, tuple[Score, Outcomes | None]]]:
  """`{headline: {block: score and outcomes}}` of one evaluation."""
  shown: dict[str, dict[str, tuple[Score, Outcomes | None]]] = {}
  for result in evaluation.values():
    for score in result.scores:
      if score.headline:
        outcomes = result.outcomes.get(score.outcomes) if score.outcomes else None
        shown.setdefault(score.headline, {})[score.block] = score, outcomes
  return shown


def _row(title: str, columns: Mapping[tuple[str, str], Samples]) -> Row:
  first, _ = next(iter(columns.values()))[0]
  cells = {column: _cell([score for score, _ in each]) for column, each in columns.items()}
  return Row(title, first.direction, cells)


def _cell(scores: Sequence[Score]) -> Cell:
  means = [records.mean(score) for score in scores]
  deviations = [records.deviation(score) for score in scores]
  probes = [value for value in deviations if value is not None]
  return Cell(
      mean=float(np.mean(means)),
      std=float(np.std(means, ddof=1)) if len(means) > 1 else None,
      per_seed=means,
      probe_std=float(np.mean(probes)) if probes else None,
  )


# ---------------------------------------------------------------- what figures show


class Curves(NamedTuple):
  """A figure of curves: `panels[label][line]` are points.

  Lines are methods, or the blocks of one evaluation.
  """

  task: str
  figure: Figure
  panels: dict[str, dict[str, list[Point]]]


class Matrix(NamedTuple):
  """A figure of a matrix, `rows[block][label]`, of one method."""

  task: str
  figure: Figure
  method: str
  rows: dict[str, dict[str, float]]


def curves(results: Results) -> list[Curves]:
  """A figure for each task that is drawn as curves, with all features: one line for each method."""
  drawn = []
  for task, figure in _figures(results, "curves").items():
    panels: dict[str, dict[str, list[Point]]] = {}
    for method, evaluations in results.items():
      done = [evaluation[task] for evaluation in evaluations if task in evaluation]
      for label, points in _lines(done, figure).items():
        panels.setdefault(label, {})[method] = points
    if panels:
      drawn.append(Curves(task, figure, panels))
  return drawn


def curves_of_blocks(result: Result) -> Curves:
  """The curves of one result: one line for each block."""
  panels: dict[str, dict[str, list[Point]]] = {}
  for score in _on_curves(result):
    spread = records.deviation(score) or 0.0
    point = score.place, records.mean(score), spread
    panels.setdefault(score.label, {}).setdefault(score.block, []).append(point)
  return Curves(result.task, result.figure, panels)


def matrices(results: Results) -> list[Matrix]:
  """A figure for each method and task that is drawn as a matrix: means over representations."""
  drawn = []
  for task, figure in _figures(results, "matrix").items():
    for method, evaluations in results.items():
      done = [evaluation[task] for evaluation in evaluations if task in evaluation]
      cells: dict[str, dict[str, list[float]]] = {}
      for score in (score for result in done for score in result.scores if score.metric == figure.metric):
        cells.setdefault(score.block, {}).setdefault(score.label, []).append(records.mean(score))
      if cells:
        table = {
            block: {label: float(np.mean(values)) for label, values in row.items()}
            for block, row in cells.items()
        }
        drawn.append(Matrix(task, figure, method, table))
  return drawn


def _figures(results: Results, kind: str) -> dict[str, Figure]:
  """The tasks that are drawn as this kind of figure."""
  everything = (result for runs in results.values() for run in runs for result in run.values())
  return {result.task: result.figure for result in everything if result.figure and result.figure.kind == kind}


def _on_curves(result: Result) -> Iterable[Score]:
  """The scores of a result that its figure shows."""
  metric = result.figure.metric if result.figure else None
  return (score for score in result.scores if score.place is not None and records.name(score) == metric)


def _lines(results: Sequence[Result], figure: Figure) -> dict[str, list[Point]]:
  """`{label: points}` of one method with all features; places are those of its first representation.

  Representations are joined by what their metrics are called: the mean distance of a bin differs between
  them.
  """
  lines: dict[str, dict[str, list[Score]]] = {}
  for result in results:
    scores = [score for score in _on_curves(result) if records.name(score) == figure.metric]
    if not scores:
      continue
    whole = records.widest(list(dict.fromkeys(score.block for score in scores)))
    for score in (score for score in scores if score.block == whole):
      lines.setdefault(score.label, {}).setdefault(score.metric, []).append(score)
  return {label: [_point(scores) for scores in points.values()] for label, points in lines.items()}


def _point(scores: Sequence[Score]) -> Point:
  means = [records.mean(score) for score in scores]
  return scores[0].place, float(np.mean(means)), float(np.std(means, ddof=1)) if len(means) > 1 else 0.0


def to_plain(row: Row) -> dict[str, Any]:
  """For JSON."""
  cells = [
      {"method": method, "block": block, **cell._asdict()} for (method, block), cell in row.cells.items()
  ]
  return {"title": row.title, "direction": row.direction, "cells": cells}
