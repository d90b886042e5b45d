"""How sure a difference of two scores is: intervals over seeds and test examples.

A score is a mean over *parts* (attributes, bins of a curve) of the mean over *strata* (the classes, where
accuracy is balanced; else there is one) of a mean over examples of their outcomes (1 where a probe is right,
or an error). The bootstrap draws test examples with replacement, all pictures of a person together (cluster
bootstrap), and seeds with replacement. Both methods are scored on the same draw of examples, so that what is
hard for both does not count.

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

DRAWS = 2_000
LEVEL = 0.95
AT_ONCE = 10_000_000  # numbers of weights that are held at a time


def example_weights(
    clusters: Int[np.ndarray, " N"], draws: int, random: np.random.Generator
) -> Float[np.ndarray, "{draws} N"]:
  """How often each example occurs in each draw: as many clusters as there are, with replacement."""
  _, of_example = np.unique(clusters, return_inverse=True)
  count = int(of_example.max()) + 1
  drawn = random.multinomial(count, np.full(count, 1.0 / count), size=draws)
  return drawn[:, of_example].astype(np.float64)


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
    outcomes: Shaped[np.ndarray, "U P N"],
    strata: Int[np.ndarray, "P N"],
    weights: Float[np.ndarray, "B N"],
) -> Float[np.ndarray, "B U"]:
  """The score of each seed under each row of example weights.

  What has a stratum below 0 does not count. A stratum that a draw does not have is left out of its mean; a
  draw that has nothing of a part gives NaN.
  """
  total = np.zeros((len(weights), len(outcomes)))
  for part, of_example in enumerate(strata):
    sums, present = np.zeros_like(total), np.zeros((len(weights), 1))
    for stratum in np.unique(of_example[of_example >= 0]):
      rows = np.flatnonzero(of_example == stratum)
      share = weights[:, rows]
      size = share.sum(axis=1, keepdims=True)
      there = size > 0
      values = share @ outcomes[:, part, rows].astype(np.float64).T
      sums += np.where(there, values / np.where(there, size, 1.0), 0.0)
      present += there
    total += np.where(present > 0, sums / np.maximum(present, 1.0), np.nan)
  return total / len(strata)


def resampled_scores(
    outcomes: Shaped[np.ndarray, "U P N"],
    strata: Int[np.ndarray, "P N"],
    clusters: Int[np.ndarray, " N"],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Float[np.ndarray, "{draws} U"]:
  """`weighted_scores` of bootstrap draws; the same examples are drawn for the same clusters and `seed`."""
  step = max(1, AT_ONCE // len(clusters))
  if draws <= step:
    weights = _drawn_before(clusters.tobytes(), clusters.dtype.str, draws, seed)
    return weighted_scores(outcomes, strata, weights)
  random, scores = np.random.default_rng(seed), []
  for start in range(0, draws, step):
    weights = example_weights(clusters, min(step, draws - start), random)
    scores.append(weighted_scores(outcomes, strata, weights))
  return np.concatenate(scores)


@functools.lru_cache(maxsize=2)  # all methods and rows of a study are scored on the same few
def _drawn_before(clusters: bytes, dtype: str, draws: int, seed: int) -> Float[np.ndarray, "{draws} N"]:
  return example_weights(np.frombuffer(clusters, dtype), draws, np.random.default_rng(seed))


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
  low, high = np.nanquantile(difference, [tail, 1.0 - tail])
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
