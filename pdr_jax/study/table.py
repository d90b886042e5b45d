"""The numbers of a suite that stand in its table: one row a task and score, one column a method; and the lines of its figures."""

from collections.abc import Mapping, Sequence

import numpy as np

Score = dict[str, float | None]  # mean, std over the probes
LOWER_IS_BETTER = ("SIDE", "MAD")


def headlines(name: str, result: dict, subset: str) -> dict[str, Score]:
  """`{row title: score}` of one task's result, read from the features `subset`; empty where the task was skipped or does not have it."""
  task, _, label = name.partition("/")
  if "skipped" in result:
    return {}
  if task == "geometry":
    model = result["results"]["model"]
    found = {"depth, SIDE x 100": 100 * model["side"], "depth, MAD (degrees)": model["mad"]} if subset == "all" else {}
    if found and "landmark_correlation" in model:
      found["depth, correlation at landmarks"] = model["landmark_correlation"]
    return {title: {"mean": value, "std": None} for title, value in found.items()}
  if task == "segmentation":
    widest = max((row for row in result["results"]), key=lambda row: row.count("+")).split(" ")[0]
    return {f"segmentation, {start}, mIoU": result["results"][f"{widest} {start}"]["scores"]["miou"]
            for start in ("scratch", "frozen", "finetuned") if subset == "all" and f"{widest} {start}" in result["results"]}
  if task == "finetune":
    return {f"{label}, fine-tuned, accuracy": result["results"]["all"]["finetuned"]["scores"]["accuracy"]} if subset == "all" else {}
  found = result["results"].get(subset)
  if found is None:
    return {}
  if task == "linear":
    scores = found["logistic"]["scores"]
    return {f"{label}, linear, accuracy": scores["accuracy"], f"{label}, linear, balanced accuracy": scores["balanced_accuracy"]}
  if task == "few_shot":
    shots = max((n for n in map(int, found["logistic"]) if n <= 10), default=min(map(int, found["logistic"])))
    return {f"{label}, {shots} labels a class, accuracy": found["logistic"][str(shots)]["accuracy"],
            f"{label}, nearest neighbours, accuracy": found["knn"]["all"]["accuracy"]}
  if task == "clustering":
    return {f"{label}, Ward, accuracy": found["ward"]["accuracy"], f"{label}, Ward, NMI": found["ward"]["nmi"]}
  if task == "identification":
    if label == "verification":
      return {"verification, ROC AUC": found["roc_auc"]}
    return {"identification, linear, accuracy": found["logistic"]["scores"]["accuracy"],
            "identification, nearest mean, accuracy": found["nearest_mean"]["scores"]["accuracy"]}
  if task == "factors":
    return {f"{factor}, R2": {"mean": value, "std": None} for factor, value in found.items()}
  if task == "robustness":
    return {title: score for kind, curve in found.items() for title, score in _ends(label, kind, curve).items()}
  return {}


def _ends(range_of: str, label: str, curve: dict) -> dict[str, Score]:
  """A robustness curve as two rows: inside the range, and the mean over the bins outside."""
  inside, beyond = curve["0"]["balanced_accuracy"], [curve[key]["balanced_accuracy"]["mean"] for key in curve if key != "0"]
  return {f"{label}, inside the range of {range_of}, balanced accuracy": inside,
          f"{label}, outside the range of {range_of}, balanced accuracy": {"mean": float(np.mean(beyond)), "std": None}}


def rows(results: Mapping[str, Sequence[dict]]) -> dict[str, dict[str, dict]]:
  """`{row title: {column: {mean, std, per_seed, probe_std}}}` of `{method: [what evaluate returned, one a seed]}`.

  Columns are methods (all features), and `METHOD BLOCK` for subsets of the features. `std` is the deviation over representations, and
  `probe_std` the mean over them of the deviation over probes; None where there is one of a kind.
  """
  table: dict[str, dict[str, dict]] = {}
  for method, runs in results.items():
    for subset in dict.fromkeys(["all", *(key for run in runs for key in _subsets(run))]):
      found = [_headlines_of(run, subset) for run in runs]
      for title in dict.fromkeys(title for one in found for title in one):
        scores = [one[title] for one in found if title in one]
        means, deviations = [score["mean"] for score in scores], [score["std"] for score in scores if score["std"] is not None]
        table.setdefault(title, {})[method if subset == "all" else f"{method} {subset}"] = {
            "mean": float(np.mean(means)), "std": float(np.std(means, ddof=1)) if len(means) > 1 else None, "per_seed": means,
            "probe_std": float(np.mean(deviations)) if deviations else None}
  return table


def _subsets(run: dict[str, dict]) -> list[str]:
  """Names of the feature subsets of an evaluation, without that of all."""
  names = [name for task, result in run.items() if task.startswith(("linear", "clustering")) for name in result.get("results", {})]
  return [name for name in dict.fromkeys(names) if name != _widest(run)]


def _widest(run: dict[str, dict]) -> str:
  """What stands for all features: `all`, or the only block, or the pair of two."""
  for result in run.values():
    chosen = result.get("protocol", {}).get("subsets")
    if chosen:
      return max(chosen, key=lambda name: len(chosen[name]))
  return "all"


def _headlines_of(run: dict[str, dict], subset: str) -> dict[str, Score]:
  widest = _widest(run)
  found: dict[str, Score] = {}
  for name, result in run.items():
    task = name.split("/")[0]
    within = task in ("geometry", "segmentation", "finetune") or subset != "all"
    key = subset if within else (widest if widest in result.get("results", {}) else next(iter(result.get("results", {})), "all"))
    found |= headlines(name, result, key)
  return found


def markdown(table: Mapping[str, Mapping[str, dict]], methods: Sequence[str], failed: Mapping[str, str], sizes: str) -> str:
  """Methods by tasks with the best of each row in bold, and below it what each feature block alone can do."""
  parts = [f"# Methods by tasks: {sizes}", "",
           "Mean ± deviation over representations (where there is only one, over probes); all features; the best of a row in bold.", "",
           *_grid(table, list(methods)), ""]
  for method in methods:
    columns = [column for column in dict.fromkeys(key for row in table.values() for key in row) if column.startswith(f"{method} ")]
    if columns:
      short = {column: column.removeprefix(f"{method} ") for column in columns} | {method: "all"}
      parts += [f"## {method} by feature block", "", *_grid(table, [*columns, method], short), ""]
  if failed:
    parts += ["## Runs that failed", "", *(f"* {name}: {reason}" for name, reason in failed.items()), ""]
  return "\n".join(parts)


def _grid(table: Mapping[str, Mapping[str, dict]], columns: list[str], short: Mapping[str, str] | None = None) -> list[str]:
  line = lambda cells: "| " + " | ".join(cells) + " |"
  lines = [line(["task", *((short or {}).get(column, column) for column in columns)]), line(["---"] * (len(columns) + 1))]
  for title, row in table.items():
    means = {column: row[column]["mean"] for column in columns if column in row}
    if len(means) < (2 if short else 1):
      continue  # of blocks: nothing to compare
    lower = any(word in title for word in LOWER_IS_BETTER)
    best = (min if lower else max)(means.values()) if means else None
    cells = []
    for column in columns:
      score = row.get(column)
      if score is None:
        cells.append("")
        continue
      deviation = score["std"] if score["std"] is not None else score["probe_std"]
      text = f"{score['mean']:.3f}" + (f" ± {deviation:.3f}" if deviation is not None else "")
      cells.append(f"**{text}**" if score["mean"] == best and len(means) > 1 else text)
    lines.append(line([title, *cells]))
  return lines


def robustness_lines(results: Mapping[str, Sequence[dict]], task: str) -> dict[str, dict[str, list[tuple[float, float, float]]]]:
  """Panels `{label: {method: [(degrees, mean, deviation over representations)]}}` of the balanced accuracy with all features."""
  panels: dict[str, dict[str, list]] = {}
  for method, runs in results.items():
    done = [(run[task], _widest(run)) for run in runs if "results" in run.get(task, {})]
    if not done:
      continue
    first, widest = done[0]
    for label, curve in first["results"][widest].items():
      points = []
      for place, degrees in first["degrees"].items():
        values = [one["results"][key][label][place]["balanced_accuracy"]["mean"] for one, key in done if place in one["degrees"]]
        points.append((degrees, float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0))
      if curve:
        panels.setdefault(label, {})[method] = points
  return panels


def factor_matrices(results: Mapping[str, Sequence[dict]]) -> dict[str, dict[str, dict[str, float]]]:
  """`{method: {subset: {factor: mean R2 over representations}}}`."""
  matrices = {}
  for method, runs in results.items():
    done = [run["factors"]["results"] for run in runs if "results" in run.get("factors", {})]
    if done:
      matrices[method] = {subset: {factor: float(np.mean([one[subset][factor] for one in done])) for factor in row}
                          for subset, row in done[0].items()}
  return matrices
