"""The table of a study as Markdown: one row a headline, one column a method.

It also says what each feature block can do.
"""

from collections.abc import Mapping, Sequence

from pdr_jax.evaluation.joined import Cell, Row
from pdr_jax.evaluation.tables import line

Column = tuple[str, str]  # method, block; block "" is all features
BEST = {"higher": max, "lower": min}


def markdown(rows: Sequence[Row], methods: Sequence[str], failed: Mapping[str, str], sizes: str) -> str:
  """Methods by tasks with the best of each row in bold, and below it what each feature block alone can do."""
  explained = (
      "Mean ± deviation over representations (where there is only one, over probes); all features; the best "
      "of a row in bold."
  )
  parts = [f"# Methods by tasks: {sizes}", "", explained, ""]
  parts += [*_grid(rows, {(method, ""): method for method in methods}), ""]
  for method in methods:
    blocks = dict.fromkeys(block for row in rows for name, block in row.cells if name == method and block)
    if blocks:
      titles = {(method, block): block for block in blocks} | {(method, ""): "all"}
      parts += [f"## {method} by feature block", "", *_grid(rows, titles, fewest=2), ""]
  if failed:
    parts += ["## What failed", "", *(f"* {name}: {reason}" for name, reason in failed.items()), ""]
  return "\n".join(parts)


def _grid(rows: Sequence[Row], titles: Mapping[Column, str], fewest: int = 1) -> list[str]:
  """The rows that have a value in at least `fewest` of the columns `titles`."""
  lines = [line(["task", *titles.values()]), line(["---"] * (len(titles) + 1))]
  for row in rows:
    cells = {column: row.cells[column] for column in titles if column in row.cells}
    if len(cells) < fewest:
      continue
    means = [cell.mean for cell in cells.values()]
    best = BEST[row.direction](means) if row.direction and len(means) > 1 else None
    lines.append(line([row.title, *(_text(cells.get(column), best) for column in titles)]))
  return lines


def _text(cell: Cell | None, best: float | None) -> str:
  if cell is None:
    return ""
  deviation = cell.std if cell.std is not None else cell.probe_std
  text = f"{cell.mean:.3f}" + (f" ± {deviation:.3f}" if deviation is not None else "")
  return f"**{text}**" if cell.mean == best else text
