"""An evaluation's document: every record of every task stands in a table, with no list of tasks anywhere."""

import re

from pdr_jax.evaluation import tables
from pdr_jax.evaluation.records import Figure, Result, Score


def test_means_deviations_and_groups():
  scores = (
    Score("linear", "who", "all", "logistic/accuracy", (0.4, 0.6), "higher"),
    Score("linear", "who", "all", "knn/1/accuracy", (0.25,), "higher"),
    Score("linear", "who", "all", "knn/1/macro_f1", (float("nan"),), "higher"),
    Score("linear", "who", "most frequent class", "accuracy", (0.5,), ""),
  )
  protocol = {"description": "t", "train": 1000, "test": 10, "seeds": [0, 1]}
  results = {
    "a": Result("a", protocol, scores),
    "b": Result("b", {}, skipped="why"),
    "c": Result("c", {}, failed="E: no"),
  }
  text = tables.markdown("title", results)
  assert "t; train 1,000, test 10; seeds [0, 1]." in text and "| features | accuracy | macro f1 |" in text
  assert "| all logistic | 0.500 ± 0.141 |  |" in text and "| all knn 1 | 0.250 | - |" in text
  assert "| most frequent class | 0.500 |  |" in text
  assert "Not run: why." in text and "Failed: E: no" in text


def test_labels_tell_rows_apart_and_are_the_columns_of_a_matrix():
  scores = tuple(
    Score("f", label, block, "r2", (value,), "higher")
    for value, (block, label) in enumerate((("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")))
  )
  text = tables.markdown("", {"f": Result("f", {}, scores)})
  assert "| a x | 0.000 |" in text and "| b y | 3.000 |" in text
  text = tables.markdown("", {"f": Result("f", {}, scores, figure=Figure("matrix", "r2", ""))})
  assert "| features | x | y |" in text and "| b | 2.000 | 3.000 |" in text


def test_no_record_is_left_out_whatever_its_task():
  scores = tuple(
    Score("new", label, block, f"{solver}metric{i}", (i + 0.5,), "")
    for i, (label, block, solver) in enumerate(
      (("", "", ""), ("x", "", "s/"), ("", "b", ""), ("y", "b", "s/t/"))
    )
  )
  for figure in (None, Figure("matrix", "metric0", "")):
    text = tables.markdown("", {"new": Result("new", {}, scores, figure=figure)})
    assert set(re.findall(r"\d\.500", text)) == {f"{i}.500" for i in range(len(scores))}
