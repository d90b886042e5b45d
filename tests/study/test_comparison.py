"""Who is first in a row, and when nobody is."""

import numpy as np
import pytest

from pdr_jax.evaluation import joined, records
from pdr_jax.evaluation.records import Result, Score
from pdr_jax.study import comparison, table

TITLE = "emotion, linear, accuracy"


def evaluation(rights, block="all", people=None, direction="higher", metric="logistic/accuracy"):
  """One evaluation whose score is the mean of `rights`, `[probes, N]`."""
  rights = np.asarray(rights)
  score = Score("linear", "emotion", block, metric, tuple(rights.mean(axis=1)), direction, TITLE)
  truth = np.arange(rights.shape[1])[None]
  outcomes = {"accuracy": records.outcomes_of(rights[:, None], truth, people=people)}
  named, used = records.with_outcomes([score], outcomes)
  return {"linear/emotion": Result("linear/emotion", {}, tuple(named), outcomes=used)}


def draws(level, seeds=3, probes=3, count=300, hard=None, random=None):
  """Evaluations of a method that is right where an example is easier than `level`, and on a few by luck."""
  evaluations = []
  for _ in range(seeds):
    luck = random.normal(0, 0.02, (probes, count))
    evaluations.append(evaluation(hard + luck < level))
  return evaluations


def ranking(results, **words):
  return comparison.rank(joined.samples(results)[TITLE], **words)


def test_first_is_said_only_where_it_is_sure():
  random = np.random.default_rng(0)
  hard = random.random(300)
  words = dict(hard=hard, random=random)
  pixels = draws(0.5, seeds=1, **words)
  results = {"a": draws(0.8, **words), "b": draws(0.6, **words), "pixels": pixels}
  sure = ranking(results)
  assert "| **0." in table.markdown(joined.samples(results), list(results), {}, "", {})
  assert sure.best == ("a", "") and sure.first
  assert [each.other[0] for each in sure.differences] == ["b", "pixels"]
  assert sure.differences[0].over == comparison.BOTH
  low, high = sure.differences[0].interval
  assert low < sure.differences[0].mean < high and sure.differences[0].mean == pytest.approx(0.2, abs=0.05)
  close = ranking({"a": draws(0.8, **words), "b": draws(0.795, **words), "c": draws(0.2, **words)})
  assert not close.first and [each.sure for each in close.differences] == [False, True]


def test_one_representation_is_not_enough_but_of_what_has_only_one():
  random = np.random.default_rng(1)
  words = dict(hard=random.random(300), random=random)
  single = ranking({"a": draws(0.9, seeds=1, **words), "b": draws(0.1, **words)})
  assert not single.first and single.differences[0].interval is None
  assert ranking({"pixels": draws(0.9, seeds=1, **words), "b": draws(0.1, **words)}).first
  assert ranking({"a": draws(0.9, **words)}) is None


def r2(true, said):
  return 1 - np.mean((true - said) ** 2) / np.var(true)


def predictions(noise, truth, random, seeds=3, probes=2, kept=True):
  """Evaluations whose score is R2 of the truth with this much noise."""
  evaluations = []
  for _ in range(seeds):
    given = truth + noise * random.normal(size=(probes, *truth.shape))
    values = tuple(r2(truth[0], each[0]) for each in given)
    score = Score("regression", "age", "all", "r2", values, "higher", TITLE)
    outcomes = {"r2": records.outcomes_of(given, truth, measure="r2")} if kept else {}
    named, used = records.with_outcomes([score], outcomes)
    evaluations.append({"regression/age": Result("regression/age", {}, tuple(named), outcomes=used)})
  return evaluations


def test_measures_that_are_no_means_are_taken_of_each_draw():
  """The interval of two R2 against a loop over draws of examples and representations."""
  random = np.random.default_rng(5)
  truth = random.normal(size=(1, 200))
  results = {name: predictions(noise, truth, random) for name, noise in (("a", 0.3), ("b", 0.6))}
  (difference,) = ranking(results, draws=600).differences
  assert difference.over == comparison.BOTH and difference.sure
  given = {
    name: [each["regression/age"].outcomes["regression/age/all/r2"].values for each in evaluations]
    for name, evaluations in results.items()
  }
  drawn = []
  for _ in range(600):
    rows, total = random.integers(0, 200, 200), 0.0
    for sign, name in ((1, "a"), (-1, "b")):
      scores = np.array([
        np.mean([r2(truth[0, rows], probe[0, rows]) for probe in each]) for each in given[name]
      ])
      total += sign * (scores.mean() + 2.687 * (scores[random.integers(0, 3, 3)].mean() - scores.mean()))
    drawn.append(total)
  expected = np.quantile(drawn, [0.025, 0.975])
  # Percentiles of 600 draws are off by about a tenth of the width.
  assert difference.interval == pytest.approx(expected, abs=0.2 * (expected[1] - expected[0]))


def test_results_without_examples_have_an_interval_over_seeds_and_the_table_says_so():
  random = np.random.default_rng(6)
  truth = random.normal(size=(1, 100))
  mixed = {name: predictions(0.1 + k, truth, random, kept=k > 0) for k, name in enumerate("ab")}
  (difference,) = ranking(mixed).differences
  assert difference.over == comparison.SEEDS and difference.interval[0] > 0 and not difference.sure
  text = "\n".join(table.comparison(joined.samples(mixed), list(mixed)))
  assert "| seeds |" in text and table.WITHOUT_EXAMPLES in text
  whole = {name: predictions(0.1 + k, truth, random) for k, name in enumerate("ab")}
  text = "\n".join(table.comparison(joined.samples(whole), list(whole)))
  assert "| seeds and examples |" in text and table.WITHOUT_EXAMPLES not in text


def test_other_examples_are_compared_by_seeds_alone():
  random = np.random.default_rng(2)
  first = draws(0.8, hard=random.random(300), random=random)
  second = draws(0.6, hard=random.random(200), count=200, random=random)
  (difference,) = ranking({"a": first, "b": second}).differences
  assert difference.over == comparison.SEEDS and difference.interval is not None


def test_pictures_of_few_people_make_it_less_sure():
  """The same answers, once of 300 people and once of six with 50 pictures each."""
  random = np.random.default_rng(3)
  people = np.repeat(np.arange(6), 50)
  easy = random.random(6)[people]  # some people are hard for b alone
  a = [np.ones((3, 300), bool)] * 3
  b = [np.broadcast_to(easy > 0.2, (3, 300))] * 3
  widths = []
  for who in (None, people):
    results = {
      name: [evaluation(each, people=who) for each in rights] for name, rights in (("a", a), ("b", b))
    }
    low, high = ranking(results).differences[0].interval
    widths.append(high - low)
  assert widths[1] > 3 * widths[0] > 0


def test_blocks_of_one_representation_share_their_seeds():
  """What differs from seed to seed for both blocks alike is no doubt about their difference."""
  random = np.random.default_rng(4)
  hard, evaluations = random.random(300), []
  for level in (0.5, 0.7, 0.9):
    both = {block: evaluation(hard[None].repeat(3, 0) < level + more, block) for block, more in
            (("depth", 0.0), ("all", 0.05))}
    results = [each["linear/emotion"] for each in both.values()]
    scores = tuple(score for result in results for score in result.scores)
    outcomes = {key: value for result in results for key, value in result.outcomes.items()}
    evaluations.append({"linear/emotion": Result("linear/emotion", {}, scores, outcomes=outcomes)})
  assert ranking({"pdr": evaluations}).first
  apart = {"x": [], "y": []}
  for each in evaluations:
    result = each["linear/emotion"]
    for name, score in zip(apart, result.scores, strict=True):
      apart[name].append({"linear/emotion": result._replace(scores=(score._replace(block="all"),))})
  assert not ranking(apart).first


def test_no_better_side_is_no_ranking():
  results = {name: [evaluation(np.ones((2, 4)), direction="")] * 2 for name in ("a", "b")}
  assert ranking(results) is None


def test_a_block_has_a_column_of_its_own_and_may_be_first():
  random = np.random.default_rng(7)
  words = dict(hard=random.random(300), random=random)
  whole, block, other = (draws(level, **words) for level in (0.6, 0.8, 0.4))

  def both(all_of_it, flat):
    (first,), (second,) = all_of_it["linear/emotion"].scores, flat["linear/emotion"].scores
    outcomes = {"all": all_of_it["linear/emotion"].outcomes[first.outcomes]}
    outcomes["flat"] = flat["linear/emotion"].outcomes[second.outcomes]
    scores = first._replace(outcomes="all"), second._replace(block="flat", outcomes="flat")
    return {"linear/emotion": Result("linear/emotion", {}, scores, outcomes=outcomes)}

  results = {"a": [both(*pair) for pair in zip(whole, block, strict=True)], "b": other}
  every = joined.samples(results)
  plain = table.comparison(every, list(results))
  assert plain[2] == "| task | a | b |" and plain[4].split("|")[2].strip().startswith("**")
  shown = table.comparison(every, list(results), blocks=("flat", "absent"))
  assert shown[2] == "| task | a | a, flat | b |"
  assert shown[4].split("|")[3].strip().startswith("**") and shown[4].count("**") == 2
  assert any(line.startswith(f"| {TITLE} | a, flat | a |") for line in shown)
