"""The report's plots: training curves of all runs, and the figures that results say they are drawn as."""

from collections.abc import Mapping, Sequence

from pdr_jax.evaluation import drawing, joined
from pdr_jax.evaluation.records import file_name
from pdr_jax.plots import sheets, style, training
from pdr_jax.plots.style import Plot
from pdr_jax.report.pictures import Pictures
from pdr_jax.report.runs import Run

GROUPS = {"val/": "Validation", "train/": "Training"}  # metrics with a panel of their own
COURSE = "curves_"  # how the names of plots over the steps begin


def of_runs(runs: Sequence[Run]) -> list[Plot]:
  """Training curves of all runs, curves of all methods, and a matrix for each method that has one."""
  plots = []
  for group, title in GROUPS.items():
    chosen = [run for run in runs if any(key.startswith(group) for line in run.records for key in line)]
    if chosen:
      plots.append(_course(group, title, chosen))
  results = {
      _label(run, method, runs): results for run in runs for method, results in run.results.items()
  }
  plots += [_probe(run, drawn, runs) for run in runs for drawn in run.probe]
  plots += [_curves(drawn) for drawn in joined.curves(results)]
  return plots + [_matrix(drawn) for drawn in joined.matrices(results)]


def _course(group: str, title: str, runs: Sequence[Run]) -> Plot:
  records = {run.name: run.records for run in runs}
  baselines = runs[0].summary.get("baselines", {})
  name = f"{COURSE}{group[:-1]}"
  return Plot(name, f"{title} over the steps", lambda: training.comparison(records, group, baselines))


def _curves(drawn: joined.Curves) -> Plot:
  kind = drawn.task.split("/")[0].capitalize()
  title = f"{kind}: {drawn.figure.title}, all features"
  return Plot(file_name(drawn.task), title, lambda: drawing.of_curves(drawn))


def _probe(run: Run, drawn: joined.Curves, runs: Sequence[Run]) -> Plot:
  title = f"{_label(run, '', runs)} {drawn.figure.title}, by {drawn.figure.across.split(',')[0]}".strip()
  name = drawn.task if len(runs) == 1 else f"{drawn.task}_{run.name}"
  return Plot(name, title[0].upper() + title[1:], lambda: drawing.of_curves(drawn))


def _matrix(drawn: joined.Matrix) -> Plot:
  title = f"{drawn.method}: {drawn.figure.title}"
  return Plot(f"{file_name(drawn.task)}_{drawn.method}", title, lambda: drawing.of_matrix(drawn, ""))


def save(plots: Sequence[Plot], shown: Mapping[str, Pictures | str], folder: str) -> None:
  """Writes every plot, and the gallery and the failures of every run, as NAME.png and NAME.pdf."""
  drawings = list(plots)
  for name, pictures in shown.items():
    if isinstance(pictures, str):
      continue
    for kind, columns in (("gallery", pictures.gallery), ("failures", pictures.failures)):
      if columns:
        sheet = Plot(f"{kind}_{name}", "", lambda columns=columns: sheets.decomposition_sheet(columns))
        drawings.append(sheet)
  for plot in drawings:
    style.save_for_paper(plot, folder)


def _label(run: Run, method: str, runs: Sequence[Run]) -> str:
  """A method of a study carries the study's name where there are others."""
  return method if run.config is not None or len(runs) == 1 else f"{run.name} {method}"
