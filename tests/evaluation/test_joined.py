"""Records of several evaluations side by side: rows by headline, curves by label, matrices by method."""

import numpy as np
import pytest

from pdr_jax.evaluation import joined
from pdr_jax.evaluation.records import Figure, Result, Score

CURVES = Figure("curves", "accuracy", "over degrees", "degrees", "accuracy")


def evaluation(level: float, shift: float = 0.0, blocks=("depth", "all")):
  """Two tasks: a score a block with a headline, and a curve of two places."""
  plain = [
    Score("t", "who", block, "s/accuracy", (level, level + 0.2), "higher", headline="who, accuracy")
    for block in blocks
  ]
  error = Score("t", "who", "model", "error", (level,), "lower", headline="error")
  points = [
    Score("c", "who", block, f"{name}/accuracy", (level - place / 100,), "higher", place=place + shift)
    for block in blocks
    for name, place in (("0", 0.0), ("0-10", 5.0))
  ]
  return {"t": Result("t", {}, (*plain, error)), "c": Result("c/light", {}, tuple(points), figure=CURVES)}


RESULTS = {
  "pdr": [evaluation(0.5), evaluation(0.7, shift=1.0)],
  "pixels": [evaluation(0.3, blocks=("pixels",))],
}


def test_rows_have_means_over_representations_and_the_better_side():
  rows = {row.title: row for row in joined.rows(RESULTS)}
  assert list(rows) == ["who, accuracy", "error"] and rows["error"].direction == "lower"
  row = rows["who, accuracy"]
  assert row.direction == "higher" and set(row.cells) == {("pdr", ""), ("pdr", "depth"), ("pixels", "")}
  whole = row.cells["pdr", ""]
  assert whole.per_seed == pytest.approx([0.6, 0.8]) and whole.mean == pytest.approx(0.7)
  assert whole.std == pytest.approx(np.std([0.6, 0.8], ddof=1))
  assert whole.probe_std == pytest.approx(np.std([0.0, 0.2], ddof=1))
  only = row.cells["pixels", ""]  # the one block stands for all
  assert only.std is None and only.mean == pytest.approx(0.4)
  assert rows["error"].cells["pdr", ""].probe_std is None


def test_curves_join_places_by_name_and_keep_those_of_the_first():
  results = {method: [{"c/light": one["c"]} for one in runs] for method, runs in RESULTS.items()}
  (drawn,) = joined.curves(results)
  assert drawn.task == "c/light" and drawn.figure == CURVES
  spread = np.std([0.5, 0.7], ddof=1)
  expected = [(0.0, 0.6, spread), (5.0, 0.55, spread)]
  assert [pytest.approx(point) for point in expected] == drawn.panels["who"]["pdr"]
  assert drawn.panels["who"]["pixels"] == [pytest.approx((0.0, 0.3, 0.0)), pytest.approx((5.0, 0.25, 0.0))]
  of_one = joined.curves_of_blocks(results["pdr"][0]["c/light"])
  assert set(of_one.panels["who"]) == {"depth", "all"}


def test_matrices_are_means_over_representations():
  def matrix(value):
    scores = [
      Score("f", label, block, "r2", (value + i,), "higher")
      for i, (block, label) in enumerate((("a", "x"), ("a", "y"), ("b", "x")))
    ]
    scores.append(Score("f", "x", "", "leakage/r2", (9.0,), "lower"))
    return {"f": Result("f", {}, tuple(scores), figure=Figure("matrix", "r2", "title"))}

  (drawn,) = joined.matrices({"pdr": [matrix(0.0), matrix(1.0)]})
  assert drawn.method == "pdr" and drawn.rows == {"a": {"x": 0.5, "y": 1.5}, "b": {"x": 2.5}}
