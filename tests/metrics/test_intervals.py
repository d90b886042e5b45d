"""Intervals of differences against naive loops, SciPy, and draws from known distributions."""

import numpy as np
import pytest
from scipy import stats
from support.tolerances import sum_tolerance

from pdr_jax.metrics import intervals
from pdr_jax.metrics.classification import decisions


def outcomes(random, seeds=3, parts=2, examples=30):
  """Right or wrong of each seed, part and example, their classes (some unknown), and eight people."""
  right = random.random((seeds, parts, examples)) < 0.7
  strata = random.integers(-1, 3, (parts, examples))
  return right, strata, random.integers(0, 8, examples)


def naive_score(right, strata, drawn):
  """Of one seed: mean over parts of the mean over classes of the mean over the drawn examples, one by one."""
  parts = []
  for values, classes in zip(right, strata, strict=True):
    by_class = {}
    for example in drawn:
      if classes[example] >= 0:
        by_class.setdefault(classes[example], []).append(values[example])
    parts.append(np.mean([np.mean(each) for each in by_class.values()]))
  return np.mean(parts)


def test_scores_of_drawn_examples_against_a_loop():
  random = np.random.default_rng(0)
  right, strata, clusters = outcomes(random)
  weights = intervals.example_weights(clusters, 20, random)
  scores = intervals.weighted_scores(right, strata, weights)
  for row, draw in zip(scores, weights, strict=True):
    drawn = np.repeat(np.arange(30), draw.astype(int))
    expected = [naive_score(each, strata, drawn) for each in right]
    # means of means of up to 60 numbers of at most 1
    np.testing.assert_allclose(row, expected, rtol=0, atol=sum_tolerance(60, dtype=np.float64))


def test_without_a_draw_it_is_balanced_accuracy():
  random = np.random.default_rng(1)
  truth, predicted = random.integers(0, 4, 50), random.integers(0, 4, 50)
  right = (truth == predicted)[None, None]
  (score,) = intervals.weighted_scores(right, truth[None], np.ones((1, 50)))[0]
  assert score == pytest.approx(decisions(truth, predicted)["balanced_accuracy"])
  (score,) = intervals.weighted_scores(right, np.zeros((1, 50), int), np.ones((1, 50)))[0]
  assert score == pytest.approx(decisions(truth, predicted)["accuracy"])


def test_people_are_drawn_whole():
  random = np.random.default_rng(2)
  clusters = np.array([7, 7, 3, 9, 3, 7])
  weights = intervals.example_weights(clusters, 400, random)
  assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 2] == weights[:, 4]).all()
  people = weights[:, [0, 2, 3]]
  assert (people.sum(axis=1) == 3).all()  # as many people as there are
  # Each is drawn once on average; the deviation of a mean of 400 is 0.04.
  np.testing.assert_allclose(people.mean(axis=0), 1.0, atol=0.2)


def test_the_whole_interval_against_a_loop():
  """Draws of people and of seeds one after the other; percentiles of 1,000 draws agree to their own error."""
  random = np.random.default_rng(3)
  first, strata, clusters = outcomes(random, seeds=3, parts=1)
  second = first & (random.random(first.shape) < 0.85)
  resampled = [
    intervals.resampled_scores(values, strata, clusters, draws=1_000, seed=5) for values in (first, second)
  ]
  low, high = intervals.bootstrap_interval(*resampled)
  people = {who: np.flatnonzero(clusters == who) for who in np.unique(clusters)}
  naive, widened = [], np.sqrt(3 / 2) * 4.3027 / 1.9600  # quantiles of t with 2 degrees and of the normal
  for _ in range(1_000):
    drawn = np.concatenate([people[who] for who in random.choice(list(people), len(people))])
    total = 0.0
    for sign, values in ((1, first), (-1, second)):
      scores = np.array([naive_score(each, strata, drawn) for each in values])
      chosen = scores[random.integers(0, 3, 3)].mean()
      total += sign * (scores.mean() + widened * (chosen - scores.mean()))
    naive.append(total)
  expected = np.nanquantile(naive, [0.025, 0.975])
  assert [low, high] == pytest.approx(expected, abs=0.15 * (expected[1] - expected[0]))
  assert intervals.bootstrap_interval(*resampled) == (low, high)  # the same every time


def test_what_is_hard_for_both_does_not_count():
  """Two methods that differ on few examples: paired, the interval is narrower than that of either."""
  random = np.random.default_rng(4)
  first = random.random((1, 1, 200)) < 0.6
  second = first.copy()
  second[0, 0, np.flatnonzero(first[0, 0])[:8]] = False
  words = dict(strata=np.zeros((1, 200), int), clusters=np.arange(200))
  scores = [intervals.resampled_scores(values, **words) for values in (first, second)]
  low, high = intervals.bootstrap_interval(*scores)
  assert 0 < low < 0.04 < high < 0.08
  alone = np.quantile(scores[0], [0.025, 0.975])
  assert high - low < 0.5 * (alone[1] - alone[0])


def test_few_seeds_are_as_sure_as_student_says():
  """The variance is `var(ddof=1) / n`, widened by t: the plain bootstrap's is a seventh of it."""
  values = np.array([0.2, 0.5, 0.8])
  shares = intervals.seed_weights(3, 200_000, np.random.default_rng(6))
  expected = values.var(ddof=1) / 3 * (stats.t.ppf(0.975, 2) / stats.norm.ppf(0.975)) ** 2
  # The relative deviation of a variance of 200,000 draws is about 0.3 %.
  assert (shares @ values).var() == pytest.approx(expected, rel=0.02)
  assert (shares @ values).mean() == pytest.approx(values.mean(), abs=0.005)
  scores = np.repeat(values[None], 4_000, axis=0)
  low, high = intervals.bootstrap_interval(scores, np.zeros((4_000, 1)))
  student = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
  assert (low, high) == pytest.approx(student, abs=0.1 * (student[1] - student[0]))
  assert (intervals.seed_weights(1, 5, np.random.default_rng(0)) == 1).all()


def test_the_same_seeds_are_drawn_together():
  random = np.random.default_rng(7)
  effects = random.normal(size=(1, 3))
  first, second = np.repeat(effects + 0.3, 2_000, axis=0), np.repeat(effects, 2_000, axis=0)
  assert intervals.bootstrap_interval(first, second, same_seeds=True) == pytest.approx((0.3, 0.3))
  low, high = intervals.bootstrap_interval(first, second)
  assert low < 0.0 < high


def test_intervals_over_seeds_alone_against_scipy():
  first, second = [0.7, 0.75, 0.72], [0.6, 0.71, 0.65, 0.6]
  expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
  assert intervals.welch_interval(first, second) == pytest.approx(tuple(expected))
  expected = stats.ttest_1samp(first, 0.6).confidence_interval(0.95)
  assert intervals.welch_interval(first, [0.6]) == pytest.approx((expected.low - 0.6, expected.high - 0.6))
  assert intervals.welch_interval([0.5], [0.6]) is None
  differences = np.subtract(first, second[:3])
  expected = stats.ttest_rel(first, second[:3]).confidence_interval(0.95)
  assert intervals.paired_t_interval(differences.tolist()) == pytest.approx(tuple(expected))
  assert intervals.paired_t_interval([0.3]) is None
