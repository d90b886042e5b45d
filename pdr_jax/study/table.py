"""The table of a study as Markdown: one row a headline, one column a method.

It also says what each feature block can do, and what each run has cost.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pdr_jax.evaluation import joined
from pdr_jax.evaluation.joined import Cell, Row, Samples
from pdr_jax.evaluation.tables import line
from pdr_jax.study.comparison import SEEDS, Column, Ranking, rankings
from pdr_jax.study.state import Record
from pdr_jax.training.progress import duration

Every = Mapping[str, Mapping[Column, Samples]]  # what the rows are made of, by their titles
SO_FAR = "So far:"  # in a table while runs are left
DRAWS_OF_BLOCKS = 500  # there are many
EXPLAINED = (
    "Mean ± deviation over representations (where there is only one, over probes); all features. Bold: "
    "first, which is said only where the 95 % interval of the difference to every other column, over seeds "
    "and test examples, excludes zero."
)

WITHOUT_EXAMPLES = (
    'Over "seeds": nothing is known of single test examples there, because a result is of an earlier version '
    "or its measure has none, or the examples differ. The interval says nothing of how lucky the choice of "
    "examples was, so nobody is called first."
)


class Grid(NamedTuple):
  """A part of the table: which columns it has, and the ranking of each of its rows by the row's title."""

  titles: dict[Column, str]
  rankings: dict[str, Ranking]


def markdown(
    every: Every,
    methods: Sequence[str],
    failed: Mapping[str, str],
    title: str,
    records: Mapping[str, Record],
    *,
    left: int = 0,
    blocks: Sequence[str] = (),
) -> str:
  """Methods by tasks, who is first and how sure that is; below, what each feature block alone can do.

  `left` and `blocks` are as in `comparison`.
  """
  rows = joined.rows_of(every)
  parts = [f"# {title}", "", *comparison(every, methods, left=left, blocks=blocks), ""]
  for method in methods:
    own = dict.fromkeys(block for row in rows for name, block in row.cells if name == method and block)
    if own:
      titles = {(method, block): block for block in own} | {(method, ""): "all"}
      grid = Grid(titles, {} if left else rankings(every, list(titles), DRAWS_OF_BLOCKS))
      parts += [f"## {method} by feature block", "", *_lines(rows, grid, fewest=2), ""]
  if failed:
    parts += ["## What failed", "", *(f"* {name}: {reason}" for name, reason in failed.items()), ""]
  if records:
    parts += ["## What the runs have cost", "", *costs(records), ""]
  return "\n".join(parts)


def comparison(
    every: Every,
    methods: Sequence[str],
    heading: str = "## How sure that is",
    *,
    left: int = 0,
    blocks: Sequence[str] = (),
) -> list[str]:
  """The table of all methods, and how sure it is who is first.

  While runs are `left`, nobody is first: intervals take a while, and would change. Each of the feature
  `blocks` has a column of its own, beside that of all features, of the methods that have it.
  """
  titles, rows = _titles(every, methods, blocks), joined.rows_of(every)
  if left:
    about = f"{SO_FAR} {left} runs are left, and nobody is called first."
    return [about, "", *_lines(rows, Grid(titles, {}))]
  grid = Grid(titles, rankings(every, list(titles)))
  lines = [EXPLAINED, "", *_lines(rows, grid)]
  return [*lines, "", heading, "", *_sure(grid)] if grid.rankings else lines


def _titles(every: Every, methods: Sequence[str], blocks: Sequence[str]) -> dict[Column, str]:
  """The columns of the table of all methods, with their titles."""
  known = {column for columns in every.values() for column in columns}
  titles = {}
  for method in methods:
    titles[method, ""] = method
    titles |= {(method, block): f"{method}, {block}" for block in blocks if (method, block) in known}
  return titles


def _sure(grid: Grid) -> list[str]:
  """A row for each ranking: the best, its difference to the next, and what it cannot be told from."""
  heads = ["task", "best", "next", "difference [95 %]", "over", "cannot be told from"]
  lines = [line(heads), line(["---"] * len(heads))]
  for title, ranking in grid.rankings.items():
    nearest = ranking.differences[0]
    interval = "none: one representation, or nothing varies"
    if nearest.interval is not None:
      interval = f"{nearest.mean:+.3f} [{nearest.interval[0]:+.3f}, {nearest.interval[1]:+.3f}]"
    unsure = [grid.titles[each.other] for each in ranking.differences if not each.sure]
    columns = grid.titles[ranking.best], grid.titles[nearest.other]
    lines.append(line([title, *columns, interval, nearest.over, ", ".join(unsure)]))
  every = [difference.over for ranking in grid.rankings.values() for difference in ranking.differences]
  return [*lines, "", WITHOUT_EXAMPLES] if SEEDS in every else lines


def costs(records: Mapping[str, Record]) -> list[str]:
  """A row for each run: pictures seen, time, processor time, and why its training stopped."""
  lines = [line(["run", "pictures seen", "time", "processor time", "stopped"]), line(["---"] * 5)]
  for name, record in records.items():
    budget = record.budget
    if not budget:
      lines.append(line([name, "none", "", "", "nothing is trained" if record.state == "done" else "failed"]))
      continue
    spent = budget["processor_seconds"]
    times = [duration(budget["seconds"]), "" if spent is None else duration(spent)]
    lines.append(line([name, f"{budget['pictures']:,}", *times, budget["stopped"]]))
  return lines


def _lines(rows: Sequence[Row], grid: Grid, fewest: int = 1) -> list[str]:
  """The rows that have a value in at least `fewest` of the grid's columns."""
  lines = [line(["task", *grid.titles.values()]), line(["---"] * (len(grid.titles) + 1))]
  for row in rows:
    cells = {column: row.cells[column] for column in grid.titles if column in row.cells}
    if len(cells) < fewest:
      continue
    ranking = grid.rankings.get(row.title)
    first = ranking.best if ranking is not None and ranking.first else None
    lines.append(line([row.title, *(_text(cells.get(column), column == first) for column in grid.titles)]))
  return lines


def _text(cell: Cell | None, first: bool) -> str:
  if cell is None:
    return ""
  deviation = cell.std if cell.std is not None else cell.probe_std
  text = f"{cell.mean:.3f}" + (f" ± {deviation:.3f}" if deviation is not None else "")
  return f"**{text}**" if first else text
