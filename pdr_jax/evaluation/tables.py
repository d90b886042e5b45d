"""The results of an evaluation as one Markdown table a person reads first; the JSON files beside it have everything."""

import math


def markdown(title: str, results: dict[str, dict]) -> str:
  """A document with one table a task: rows are feature subsets and solvers, one column a score, mean and deviation over seeds.

  Args:
    results: `{name: what a task returned}`; a task that could not run is `{"skipped": reason}`.
  """
  parts = [f"# {title}", ""]
  for name, result in results.items():
    parts += [f"## {name}", ""]
    if "skipped" in result:
      parts += [f"Not run: {result['skipped']}.", ""]
      continue
    protocol = result.get("protocol", {})
    sizes = ", ".join(f"{key} {protocol[key]:,}" for key in ("train", "test", "examples") if isinstance(protocol.get(key), int))
    majority = f"; the most frequent class alone has accuracy {100 * result['majority']:.1f} %" if "majority" in result else ""
    parts += [f"{result['task']}; {sizes}; seeds {protocol.get('seeds', '-')}{majority}.", "", *_table(list(_rows(result["results"]))), ""]
    if result.get("leakage"):
      parts += ["Leakage: " + ", ".join(f"{factor} {value:.2f}" for factor, value in result["leakage"].items()) + ".", ""]
    if result.get("gap_closed"):
      share = ", ".join(f"{key} {100 * value:.0f} %" for key, value in result["gap_closed"].items() if value is not None)
      parts += [f"Closed of the gap between average true depth and the supervised bound: {share or 'nothing, there is no gap'}.", ""]
    if result.get("numbers"):
      parts += ["Single numbers of all features: " + ", ".join(f"{key} {value:.2f}" for key, value in result["numbers"].items()) + ".", ""]
  return "\n".join(parts)


def _rows(tree: dict, path: tuple[str, ...] = ()):
  """(row name, {score: text}) for every group of scores in nested results."""
  scores = {key: _number(value) for key, value in tree.items() if _number(value) is not None}
  if scores:
    yield " ".join(path), scores
  for key, value in tree.items():
    if key not in scores and isinstance(value, dict) and key not in ("fit", "labels"):
      yield from _rows(value, path if key == "scores" else (*path, key))


def _number(value) -> str | None:
  if isinstance(value, bool) or value is None:
    return None
  if isinstance(value, int | float):
    return "-" if math.isnan(value) else f"{value:.3f}"
  if isinstance(value, dict) and "mean" in value:
    return f"{value['mean']:.3f}" + (f" ± {value['std']:.3f}" if value.get("std") is not None else "")
  return None


def _table(rows: list[tuple[str, dict[str, str]]]) -> list[str]:
  columns = list(dict.fromkeys(key for _, scores in rows for key in scores))
  line = lambda cells: "| " + " | ".join(cells) + " |"
  body = [line([name or "all", *(scores.get(key, "") for key in columns)]) for name, scores in rows]
  return [line(["features", *(column.replace("_", " ") for column in columns)]), line(["---"] * (len(columns) + 1)), *body]
