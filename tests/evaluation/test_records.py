"""The file of a result: what is written is read again.

What is damaged or older is one line that names it.
"""

import json

import numpy as np
import pytest

from pdr_jax.errors import UserError
from pdr_jax.evaluation import records
from pdr_jax.evaluation.records import Figure, Result, Score

SCORE = Score("linear", "who", "all", "logistic/accuracy", (0.1, 0.2, 0.4), "higher", "who, linear", 5.0)
RESULT = Result(
  "linear/who", {"train": 3}, (SCORE,), {"fit": [1]}, Figure("curves", "accuracy", "title", "x", "y")
)


def test_what_is_written_is_read_again(tmp_path):
  plain = Score("t", "", "", "m", (1.0,), "")
  for name, result in {
    "a": RESULT,
    "b": Result("t", {}, (plain, SCORE)),
    "c": Result("x/y", {}, skipped="no maps"),
    "d": Result("z", {"key": "1"}, failed="ValueError: no"),
  }.items():
    records.write(str(tmp_path / f"{name}.json"), result)
    assert records.read(str(tmp_path / f"{name}.json")) == result._replace(details=dict(result.details))
  assert list(records.read_folder(str(tmp_path))) == ["linear/who", "t", "x/y", "z"]


def outcomes(seed=0):
  random = np.random.default_rng(seed)
  right, truth = random.random((3, 2, 10)) < 0.5, random.integers(0, 3, (2, 10))
  return records.outcomes_of(right, truth, strata=truth, people=np.array([4, 4, -1, 7, -1, 7, 7, 4, 4, 0]))


def test_outcomes_of_examples_are_read_again(tmp_path):
  path = str(tmp_path / "linear_who.json")
  named, used = records.with_outcomes([SCORE, SCORE._replace(headline="")], {"accuracy": outcomes()})
  assert [score.outcomes for score in named] == ["linear/who/all/logistic/accuracy", ""]
  records.write(path, RESULT._replace(scores=tuple(named), outcomes=used))
  read = records.read(path)
  assert read.scores == tuple(named) and dict(read.outcomes) == used
  (stored,) = read.outcomes.values()
  assert stored.values.dtype == bool and stored.values.shape == (3, 2, 10)
  (tmp_path / "linear_who.outcomes.npz").write_bytes(b"spoilt")
  again = records.read(path)  # its scores are there all the same
  assert again.scores == tuple(named)
  with pytest.raises(UserError, match=r"linear_who\.outcomes\.npz is damaged"):
    len(again.outcomes)


def test_outcomes_of_earlier_versions_are_means_and_of_later_ones_are_refused(tmp_path):
  path, beside = str(tmp_path / "linear_who.json"), tmp_path / "linear_who.outcomes.npz"
  named, used = records.with_outcomes([SCORE], {"accuracy": outcomes()})
  records.write(path, RESULT._replace(scores=tuple(named), outcomes=used))
  with np.load(beside) as file:
    arrays = {key: file[key] for key in file.files}
  assert {key.rpartition(":")[2] for key in arrays} == {
    "values", "strata", "clusters", "examples", "measure"
  }  # fmt: skip
  np.savez(beside, **{key: value for key, value in arrays.items() if not key.endswith(":measure")})
  assert dict(records.read(path).outcomes) == used
  strange = {key: "median of medians" for key in arrays if key.endswith(":measure")}
  np.savez(beside, **arrays | strange)
  with pytest.raises(UserError, match=r"written by a later version .*'median of medians'"):
    len(records.read(path).outcomes)


def test_predictions_are_kept_with_their_truth(tmp_path):
  truth = np.random.default_rng(0).normal(size=(2, 10))
  given = records.outcomes_of(truth[None] + 0.1, truth, measure="r2")
  named, used = records.with_outcomes([SCORE], {"accuracy": given})
  records.write(str(tmp_path / "a.json"), RESULT._replace(scores=tuple(named), outcomes=used))
  (read,) = records.read(str(tmp_path / "a.json")).outcomes.values()
  assert read == given and read.truth.dtype == read.values.dtype == np.float32 and read.measure == "r2"
  assert given != given._replace(measure="spearman") and given != given._replace(truth=None)


def test_people_are_drawn_together_and_unknown_ones_alone():
  clusters = outcomes().clusters
  assert clusters.tolist()[:2] == [4, 4] and len(set(clusters)) == 5  # three people and two unknown
  assert outcomes().examples == outcomes().examples != outcomes(1).examples
  assert outcomes() == outcomes() != outcomes(1)


def test_results_of_the_format_before_are_read(tmp_path):
  path = tmp_path / "linear_who.json"
  records.write(str(path), RESULT)
  path.write_text(path.read_text().replace('"format": 3', '"format": 2'))
  assert records.read(str(path)) == RESULT._replace(details=dict(RESULT.details))


def test_mean_and_deviation():
  assert records.mean(SCORE) == pytest.approx(0.7 / 3)
  assert records.deviation(SCORE) == pytest.approx(np.std([0.1, 0.2, 0.4], ddof=1))
  assert records.deviation(SCORE._replace(values=(0.5,))) is None


def test_a_score_for_each_metric():
  runs = [{"a": 1, "b": 2.0}, {"a": 3, "b": 4.0}]
  actual = records.of_runs("t", "l", "all", runs, prefix="s/", headlines={"b": "B"}, place=2.0)
  assert actual == [
    Score("t", "l", "all", "s/a", (1.0, 3.0), "higher", "", 2.0),
    Score("t", "l", "all", "s/b", (2.0, 4.0), "higher", "B", 2.0),
  ]
  assert [records.name(score) for score in actual] == ["a", "b"]


def test_which_block_stands_for_all_features():
  assert records.widest(["depth", "all", "depth+albedo"]) == "all"
  assert records.widest(["depth", "albedo", "depth+albedo"]) == "depth+albedo"
  assert records.widest(["pixels"]) == "pixels"


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda text: text[: len(text) // 2], "is not valid JSON .*delete it and evaluate again"),
    (lambda text: "[1]", "is no result of an evaluation"),
    (
      lambda text: text.replace('"format": 3', '"format": 1'),
      "another version of pdr_jax \\(format 1, this one reads 2 and 3\\)",
    ),
    (
      lambda text: json.dumps({"task": "t", "protocol": {}, "results": {}}),
      "another version of pdr_jax \\(format 1",
    ),
    (lambda text: text.replace('"higher"', '"upper"'), "damaged .*better side is 'upper'"),
    (lambda text: text.replace('"values"', '"vlaues"'), "is damaged"),
    (lambda text: text.replace('"scores"', '"scroes"'), "neither scores nor a reason"),
    (lambda text: text.replace("0.1", '"much"'), "is damaged"),
  ],
)
def test_what_cannot_be_read_is_one_line_that_names_it(tmp_path, change, message):
  path = tmp_path / "linear_who.json"
  records.write(str(path), RESULT)
  path.write_text(change(path.read_text()))
  with pytest.raises(UserError, match=f"{path}.*{message}") as error:
    records.read(str(path))
  assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
  with pytest.raises(UserError, match=r"nothing\.json cannot be read"):
    records.read(str(tmp_path / "nothing.json"))
