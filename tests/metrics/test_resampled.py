"""Measures of drawn examples against scikit-learn and SciPy on the drawn set, and whether intervals cover."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn

from pdr_jax.metrics import clustering, intervals, landmarks, resampled, segmentation, verification

COUNT, DRAWS = 40, 12


def numbers(seed=0):
  """Predictions of two seeds and two parts with ties, their truth, and some that do not count."""
  random = np.random.default_rng(seed)
  truth = np.round(random.normal(size=(2, COUNT)), 1)
  values = np.round(truth + 0.7 * random.normal(size=(2, 2, COUNT)), 1)
  return values, np.where(random.random((2, COUNT)) < 0.9, 0, -1), truth


def drawn(random, clusters):
  """Weights of some draws, and for each the rows of the set that it stands for."""
  weights = intervals.example_weights(clusters, DRAWS, random)
  return weights, [np.repeat(np.arange(COUNT), row.astype(int)) for row in weights]


@pytest.mark.parametrize("measure, naive", [
  ("r2", sklearn.r2_score),
  ("r2_from_zero", lambda true, given: max(sklearn.r2_score(true, given), 0.0)),
  ("spearman", lambda true, given: stats.spearmanr(true, given).statistic),
  ("correlation", lambda true, given: stats.pearsonr(true, given).statistic),
  ("median", lambda true, given: np.median(given)),
  ("mean", lambda true, given: np.mean(given)),
])  # fmt: skip
def test_numbers_against_scikit_learn_and_scipy(measure, naive):
  values, strata, truth = numbers()
  values = values if measure != "r2_from_zero" else values + np.array([0, 3])[:, None]
  weights, rows = drawn(np.random.default_rng(1), np.arange(COUNT) // 2)
  found = intervals.weighted_scores(values, strata, weights, truth=truth, measure=measure)
  for row, chosen in zip(found, rows, strict=True):
    kept = [chosen[part[chosen] >= 0] for part in strata]
    for seed in range(2):
      each = [naive(truth[k][kept[k]], values[seed, k][kept[k]]) for k in range(2)]
      assert row[seed] == pytest.approx(np.mean(each), abs=1e-10)  # sums of 40 numbers in float64


def test_what_does_not_vary_in_a_draw():
  values, strata, truth = numbers()
  same = np.zeros((1, COUNT))
  same[0, 3] = 5
  nothing = np.zeros((1, COUNT))
  words = dict(values=values, strata=strata, truth=truth)
  assert np.isnan(resampled.r2(**words, weights=same)).all()
  assert (resampled.spearman(**words, weights=same) == 0).all()
  assert (resampled.correlation(**words, weights=same) == 0).all()
  for measure in ("mean", "median", "r2", "spearman", "correlation", "ratio"):
    assert np.isnan(resampled.MEASURES[measure](**words, weights=nothing)).all(), measure
  clusters = dict(values=np.ones((1, 1, 4), int), strata=np.zeros((1, 4), int), truth=np.ones((1, 4)))
  assert resampled.nmi(**clusters, weights=np.ones((1, 4))) == 1  # as scikit-learn has it
  for measure in ("nmi", "clustering_accuracy"):
    assert np.isnan(resampled.MEASURES[measure](**clusters, weights=np.zeros((1, 4)))).all()


def test_a_ratio_of_sums():
  random = np.random.default_rng(2)
  values = random.integers(0, 9, (1, 2, COUNT))
  weights, rows = drawn(random, np.arange(COUNT))
  found = resampled.ratio(values, np.zeros((2, COUNT), int), np.zeros((0, COUNT)), weights)
  expected = [values[0, 0, row].sum() / values[0, 1, row].sum() for row in rows]
  np.testing.assert_allclose(found[:, 0], expected, rtol=1e-12)


def test_pairs_against_a_loop_over_drawn_people():
  """Whoever is drawn twice counts as two people: their pairs are compared, not those between the two."""
  random = np.random.default_rng(3)
  people = np.sort(random.integers(0, 7, 22))
  first, second = (side for side in np.triu_indices(22, 1))
  similarity = np.round(random.normal(size=len(first)) + (people[first] == people[second]), 1)
  pairs = np.stack([people[first], people[second]])
  same = people[first] == people[second]
  weights = intervals.example_weights(pairs, 20, np.random.default_rng(5))
  copies = np.random.default_rng(5).multinomial(7, np.full(7, 1 / 7), size=20)
  words = dict(strata=np.zeros((1, len(first)), int), truth=same[None], weights=weights)
  found = {
    name: resampled.MEASURES[name](values=similarity[None, None], **words)[:, 0]
    for name in ("roc_auc", "tar_at_far_1e-2")
  }
  table = {pair: value for pair, value in zip(zip(first, second, strict=True), similarity, strict=True)}
  for k, counts in enumerate(copies):
    # The drawn pictures, each with its person's copy.
    pictures = [(i, c) for i in range(22) for c in range(counts[people[i]])]
    told, kinds = [], []
    for a, (i, copy) in enumerate(pictures):
      for j, other in pictures[a + 1 :]:
        alike = people[i] == people[j]
        if i != j and (not alike or copy == other):
          told.append(table[min(i, j), max(i, j)])
          kinds.append(alike)
    expected = verification.verification(np.array(kinds), np.array(told))
    for name, scores in found.items():
      assert scores[k] == pytest.approx(expected[name], abs=1e-12), (name, k)
  assert np.isnan(resampled.roc_auc(similarity[None, None], **words | {"weights": weights * same})).all()


def test_clusters_against_scikit_learn():
  random = np.random.default_rng(4)
  truth = random.integers(0, 4, COUNT)
  clusters = np.stack([np.where(random.random(COUNT) < 0.6, truth, random.integers(0, 5, COUNT))] * 2)
  clusters[1, ::7] = -1  # not clustered
  weights, rows = drawn(random, np.arange(COUNT))
  words = dict(strata=np.zeros((1, COUNT), int), truth=truth[None], weights=weights)
  accuracy, nmi = (
    resampled.MEASURES[name](values=clusters[:, None], **words) for name in ("clustering_accuracy", "nmi")
  )
  for k, row in enumerate(rows):
    for seed, each in enumerate(clusters):
      kept = row[each[row] >= 0]
      expected = clustering.clustering(truth[kept], each[kept])
      assert accuracy[k, seed] == pytest.approx(expected["accuracy"])
      assert nmi[k, seed] == pytest.approx(expected["nmi"])


def test_segments_against_the_sum_of_confusions():
  random = np.random.default_rng(5)
  counts = random.integers(0, 30, (COUNT, 3, 3))
  counts[1:, 2] = 0  # a rare class, which some draws do not have
  right = np.diagonal(counts, axis1=1, axis2=2)
  union = counts.sum(axis=1) + counts.sum(axis=2) - right
  values = np.concatenate([right, union], axis=1).T[None]
  weights, rows = drawn(random, np.arange(COUNT))
  found = resampled.miou(values, np.zeros((6, COUNT), int), counts.sum(axis=2).T, weights)
  expected = [segmentation.segmentation(counts[row].sum(axis=0))["miou"] for row in rows]
  np.testing.assert_allclose(found[:, 0], expected, rtol=1e-12)
  assert any(not counts[row, 2].any() for row in rows)


def test_correlation_is_that_of_landmarks():
  random = np.random.default_rng(6)
  predicted, true = random.normal(size=(2, 30, 5))
  predicted[:, 2] = predicted.mean(axis=1)
  given, truth = (landmarks.relative(depth).T for depth in (predicted, true))
  found = resampled.correlation(given[None], np.zeros((5, 30), int), truth, np.ones((1, 30)))
  assert found.item() == pytest.approx(landmarks.correlation(predicted, true))


# ---------------------------------------------------------------- do intervals cover the truth?


def regressed(random, spreads, people=0, count=150):
  """Two predictions with noise of these spreads; with `people` both truth and noise are half theirs."""
  who = np.repeat(np.arange(people), count // people) if people else np.arange(count)

  def normal():
    own = random.normal(size=count)
    return (own + random.normal(size=count)[who]) / np.sqrt(2) if people else own

  truth = normal()
  values = np.stack([truth + spread * normal() for spread in spreads])[:, None]
  return values, truth[None], who


def r2_of(spread):
  return 1 - spread**2


def spearman_of(spread):
  return 6 / np.pi * np.arcsin(0.5 / np.sqrt(1 + spread**2))


def verified(random, spreads):
  """Pairs of pictures whose likeness is minus the distance of numbers: a person's own plus noise."""
  people = np.repeat(np.arange(40), 3)
  own = random.normal(size=40)[people]
  first, second = np.triu_indices(120, 1)
  kept = (people[first] == people[second]) | (random.random(len(first)) < 0.05)
  first, second = first[kept], second[kept]
  places = [own + spread * random.normal(size=120) for spread in spreads]
  values = np.stack([-np.abs(x[first] - x[second]) for x in places])[:, None]
  pairs = np.stack([people[first], people[second]])
  return values, (pairs[0] == pairs[1])[None], pairs


def auc_of(spread):
  """Of two half-normal distances, `spread` for one person and `sqrt(1 + spread^2)` for two."""
  return 2 / np.pi * np.arctan(np.sqrt(1 + spread**2) / spread)


def clustered(random, shares, count=200, classes=5):
  truth = random.integers(0, classes, count)
  values = [np.where(random.random(count) < q, truth, random.integers(0, classes, count)) for q in shares]
  return np.stack(values)[:, None], truth[None], np.arange(count)


def accuracy_of(share, classes=5):
  return share + (1 - share) / classes


def nmi_of(share, classes=5):
  right = accuracy_of(share)
  rest = (1 - right) / (classes - 1)
  return 1 + (right * np.log(right) + (1 - right) * np.log(rest)) / np.log(classes)


def segmented(random, shares, count=60):
  """Pictures with discs of drawn sizes, of whose pixels a share is found, and of the ground's as many not."""
  size = random.uniform(0.05, 0.3, count)
  luck = random.uniform(0.9, 1.1, count)
  truth = np.stack([1 - size, size])
  values = []
  for share in shares:
    missed = size * (1 - share * luck)
    values.append([1 - size, size - missed, np.ones(count) - size + missed, size])
  return 1000 * np.array(values), 1000 * truth, np.arange(count)


def miou_of(share):
  size, missed = 0.175, 0.175 * (1 - share)
  return ((1 - size) / (1 - size + missed) + (size - missed) / size) / 2


def spread_out(random, spreads, count=150):
  hard = random.normal(size=count)
  values = np.stack([np.abs(spread * (hard + random.normal(size=count)) / np.sqrt(2)) for spread in spreads])
  return values[:, None], np.zeros((0, count)), np.arange(count)


KNOWN = {
  "r2": (regressed, r2_of, "r2", (0.5, 0.7)),
  "r2 of people": (lambda random, s: regressed(random, s, people=75), r2_of, "r2", (0.5, 0.7)),
  "spearman": (regressed, spearman_of, "spearman", (0.5, 0.7)),
  "roc_auc": (verified, auc_of, "roc_auc", (0.3, 0.5)),
  "accuracy": (clustered, accuracy_of, "clustering_accuracy", (0.8, 0.6)),
  "nmi": (clustered, nmi_of, "nmi", (0.8, 0.6)),
  "miou": (segmented, miou_of, "miou", (0.8, 0.7)),
  "median": (spread_out, lambda spread: spread * stats.norm.ppf(0.75), "median", (1.0, 1.3)),
}


SLOW = [name for name in KNOWN if name not in ("r2", "miou")]


@pytest.mark.parametrize("kind", ["r2", "miou", *(pytest.param(k, marks=pytest.mark.slow) for k in SLOW)])
def test_intervals_of_differences_cover_the_truth(kind):
  """95 % intervals of the difference of two methods, over 200 test sets: between 90 and 99 % cover it.

  The deviation of such a share is 1.5 points.
  """
  draw, of, measure, settings = KNOWN[kind]
  truth = of(settings[0]) - of(settings[1])
  random, covered = np.random.default_rng(7), 0
  for _ in range(200):
    values, true, clusters = draw(random, settings)
    strata = np.zeros(values.shape[1:], int)
    words = dict(truth=true, measure=measure, draws=200 if kind == "roc_auc" else 300)
    scores = intervals.resampled_scores(values, strata, clusters, **words)
    low, high = intervals.bootstrap_interval(scores[:, :1], scores[:, 1:])
    covered += low <= truth <= high
  assert 0.90 <= covered / 200 <= 0.99, covered
