"""How sure a difference of two scores is: intervals over seeds and test examples.

A score is a measure of what a probe gave of each example (`resampled`), such as the mean over *parts*
(attributes, bins of a curve) of the mean over *strata* (the classes, where accuracy is balanced; else there
is one) of 1 where it was right. The bootstrap draws test examples with replacement, all pictures of a person
together (cluster bootstrap), and seeds with replacement, and measures each draw anew. Both methods are scored
on the same draw of examples, so that what is hard for both does not count.

A bootstrap of few seeds is too narrow: its variance is (n - 1) / n of what it should be, and its percentiles
know nothing of Student's t. As in the expanded percentile interval (Hesterberg, "What Teachers Should Know
About the Bootstrap", 2015), deviations of seeds are widened by sqrt(n / (n - 1)) and by the ratio of the
quantiles of t and of the normal distribution: 2.7 in all for three seeds.
"""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy import stats

from pdr_jax.metrics import resampled

DRAWS = 2_000
LEVEL = 0.95
KEPT = 10_000_000  # numbers of weights that are kept for the next row
AT_ONCE = 1_000_000  # of more than that, what is computed at a time: it fits a cache


def example_weights(
    clusters: Int[np.ndarray, "*sides N"], draws: int, random: np.random.Generator
) -> Float[np.ndarray, "{draws} N"]:
  """How often each example occurs in each draw: as many clusters as there are, with replacement.

  A pair (`clusters` [2 N]) occurs as often as its two people meet, and one of a single person as often as
  that person: whoever is drawn twice counts as two people, who are not compared with each other.
  """
  return _weights(_numbered(clusters), draws, random)


def _numbered(clusters: Int[np.ndarray, "*sides N"]) -> Int[np.ndarray, "sides N"]:
  """The clusters of each side, numbered from 0."""
  _, of_example = np.unique(clusters, return_inverse=True)
  return of_example.reshape(-1, clusters.shape[-1])


def _weights(
    of_example: Int[np.ndarray, "sides N"], draws: int, random: np.random.Generator
) -> Float[np.ndarray, "{draws} N"]:
  count = int(of_example.max()) + 1
  drawn = random.multinomial(count, np.full(count, 1.0 / count), size=draws).astype(np.float64)
  first, last = drawn[:, of_example[0]], of_example[-1]
  return first if len(of_example) == 1 else first * np.where(of_example[0] == last, 1.0, drawn[:, last])


def seed_weights(
    count: int, draws: int, random: np.random.Generator, level: float = LEVEL
) -> Float[np.ndarray, "{draws} {count}"]:
  """The share of each seed in each draw, deviations widened; the share of a single one is 1."""
  if count == 1:
    return np.ones((draws, 1))
  shares = random.multinomial(count, np.full(count, 1.0 / count), size=draws) / count
  return 1.0 / count + (shares - 1.0 / count) * widening(count, level)


def widening(count: int, level: float = LEVEL) -> float:
  """By what the bootstrap of so few seeds is too narrow."""
  tail = 0.5 + level / 2
  return float(np.sqrt(count / (count - 1.0)) * stats.t.ppf(tail, count - 1) / stats.norm.ppf(tail))


def weighted_scores(
    values: Shaped[np.ndarray, "U P N"],
    strata: Int[np.ndarray, "P N"],
    weights: Float[np.ndarray, "B N"],
    *,
    truth: Shaped[np.ndarray, "_ N"] | None = None,
    measure: str = resampled.MEAN,
) -> Float[np.ndarray, "B U"]:
  """The score of each seed under each row of example weights, see `resampled`."""
  truth = np.zeros((0, values.shape[-1])) if truth is None else truth
  return resampled.MEASURES[measure](values, strata, truth, weights)


def resampled_scores(
    values: Shaped[np.ndarray, "U P N"],
    strata: Int[np.ndarray, "P N"],
    clusters: Int[np.ndarray, "*sides N"],
    *,
    truth: Shaped[np.ndarray, "_ N"] | None = None,
    measure: str = resampled.MEAN,
    draws: int = DRAWS,
    seed: int = 0,
) -> Float[np.ndarray, "{draws} U"]:
  """`weighted_scores` of bootstrap draws; the same examples are drawn for the same clusters and `seed`."""
  words = dict(truth=truth, measure=measure)
  if draws * clusters.shape[-1] <= KEPT:
    weights = _drawn_before(clusters.tobytes(), clusters.dtype.str, clusters.shape, draws, seed)
    return weighted_scores(values, strata, weights, **words)
  random, scores, of_example = np.random.default_rng(seed), [], _numbered(clusters)
  step = max(1, AT_ONCE // clusters.shape[-1])
  for start in range(0, draws, step):
    weights = _weights(of_example, min(step, draws - start), random)
    scores.append(weighted_scores(values, strata, weights, **words))
  return np.concatenate(scores)


@functools.lru_cache(maxsize=2)  # all methods and rows of a study are scored on the same few
def _drawn_before(
    clusters: bytes, dtype: str, shape: tuple[int, ...], draws: int, seed: int
) -> Float[np.ndarray, "{draws} N"]:
  whole = np.frombuffer(clusters, dtype).reshape(shape)
  return example_weights(whole, draws, np.random.default_rng(seed))


def bootstrap_interval(
    first: Float[np.ndarray, "B U"],
    second: Float[np.ndarray, "B V"],
    *,
    level: float = LEVEL,
    same_seeds: bool = False,
    seed: int = 0,
) -> tuple[float, float]:
  """The interval of `first - second` by percentiles.

  Args:
    first, second: `resampled_scores` over the same draws of examples, one column a seed.
    same_seeds: whether the columns are the same seeds (two blocks of one representation), which are then
      drawn together; else each has its own draw.
  """
  draws, random = len(first), np.random.default_rng([seed, 1])
  weights = seed_weights(first.shape[1], draws, random, level)
  others = weights if same_seeds else seed_weights(second.shape[1], draws, random, level)
  difference = (first * weights).sum(axis=1) - (second * others).sum(axis=1)
  tail = (1.0 - level) / 2
  known = difference[~np.isnan(difference)]
  low, high = np.quantile(known, [tail, 1.0 - tail]) if len(known) else (np.nan, np.nan)
  return float(low), float(high)


def welch_interval(
    first: Sequence[float], second: Sequence[float], *, level: float = LEVEL
) -> tuple[float, float] | None:
  """Welch's interval of the difference of the means over seeds, where nothing is known of single examples.

  A single value counts as exact. None where both are single, or nothing varies.
  """
  one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
  errors = [values.var(ddof=1) / len(values) if len(values) > 1 else 0.0 for values in (one, two)]
  if sum(errors) == 0:
    return None
  parts = [error**2 / (len(v) - 1) for error, v in zip(errors, (one, two), strict=True) if len(v) > 1]
  freedom = sum(errors) ** 2 / sum(parts)
  half = float(stats.t.ppf(0.5 + level / 2, freedom) * np.sqrt(sum(errors)))
  difference = float(one.mean() - two.mean())
  return difference - half, difference + half


def paired_t_interval(
    differences: Sequence[float], *, level: float = LEVEL
) -> tuple[float, float] | None:
  """Student's interval of a mean difference over the same seeds; None for a single one."""
  values = np.asarray(differences, np.float64)
  if len(values) < 2:
    return None
  half = float(stats.t.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
  return float(values.mean()) - half, float(values.mean()) + half
