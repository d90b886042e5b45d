"""The figures of results: whatever a result says that it is drawn as, from its records."""

from matplotlib.figure import Figure

from pdr_jax.evaluation import joined
from pdr_jax.evaluation.records import Result
from pdr_jax.plots import curves, heat_map, style


def draw(result: Result, path: str) -> None:
  """Writes the figure of one result to a PNG, if it has one."""
  if result.figure is None or not result.scores:
    return
  if result.figure.kind == "matrix":
    figure = of_matrix(joined.matrices({"": [{result.task: result}]})[0])
  else:
    figure = of_curves(joined.curves_of_blocks(result), result.task.replace("/", ": "))
  style.save(figure, path)


def of_curves(drawn: joined.Curves, title: str = "") -> Figure:
  """One panel a label."""
  return curves.curves(drawn.panels, title, across=drawn.figure.across, upwards=drawn.figure.upwards)


def of_matrix(drawn: joined.Matrix, title: str | None = None) -> Figure:
  """Blocks by labels."""
  shown = drawn.figure.title if title is None else title
  return heat_map.heat_map(drawn.rows, shown, label=drawn.figure.upwards)
