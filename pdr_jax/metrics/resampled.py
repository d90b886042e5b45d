"""Measures of drawn test examples: what a score would be of a set that has each example as often as drawn.

All take the same and give a score of each draw and seed, NaN where a draw has nothing to measure:
  values: [U P N], what each seed gave of each part (label, bin, number, angle, class) and example.
  strata: [P N], below 0 where an example does not count; of means the stratum that it belongs to.
  truth: what is true of the examples, where a measure compares with it.
  weights: [B N], how often each draw has each example.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.optimize import linear_sum_assignment

from pdr_jax.metrics.verification import FALSE_ACCEPT_RATES

AT_ONCE = 5_000_000  # numbers of tables of classes by clusters that are held at a time
Values, Strata = Shaped[np.ndarray, "U P N"], Int[np.ndarray, "P N"]
Truth, Weights = Shaped[np.ndarray, "_ N"], Float[np.ndarray, "B N"]
Scores = Float[np.ndarray, "B U"]
Measure = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def mean(values: Values, strata: Strata, truth: Truth, weights: Weights) -> Scores:
  """The mean over parts of the mean over strata of the mean over examples.

  A stratum that a draw does not have is left out of its mean; a draw that has nothing of a part gives NaN.
  """
  total = np.zeros((len(weights), len(values)))
  for part, of_example in enumerate(strata):
    sums, present = np.zeros_like(total), np.zeros((len(weights), 1))
    for stratum in np.unique(of_example[of_example >= 0]):
      rows = np.flatnonzero(of_example == stratum)
      share = weights[:, rows]
      size = share.sum(axis=1, keepdims=True)
      sums += _ratio(share @ values[:, part, rows].astype(np.float64).T, size, 0.0)
      present += size > 0
    total += _ratio(sums, present)
  return total / len(strata)


def median(values: Values, strata: Strata, truth: Truth, weights: Weights) -> Scores:
  """The mean over parts of the median over examples; of an even number the mean of the two in the middle."""
  total = np.zeros((len(weights), len(values)))
  for given, _, share in _parts(values, strata, truth, weights):
    size = share.sum(axis=1, keepdims=True)
    for seed, numbers in enumerate(given):
      order = np.argsort(numbers)
      before = np.cumsum(share[:, order], axis=1)
      middle = [(before <= place).sum(axis=1) for place in ((size - 1) // 2, size // 2)]
      last = len(numbers) - 1
      pair = [numbers[order][np.minimum(row, last)] for row in middle]
      total[:, seed] += np.where(size[:, 0] > 0, np.mean(pair, axis=0), np.nan)
  return total / len(strata)


def ratio(values: Values, strata: Strata, truth: Truth, weights: Weights) -> Scores:
  """The sum of the first part over the sum of the second (right answers over questions)."""
  above, below = (weights @ values[:, part].astype(np.float64).T for part in range(2))
  return _ratio(above, below)


# ---------------------------------------------------------------- predicted numbers


def r2(values: Values, strata: Strata, truth: Truth, weights: Weights) -> Scores:
  """The mean over parts of R2; `values` are predictions."""
  return np.mean([_explained(*part) for part in _parts(values, strata, truth, weights)], axis=0)


def r2_from_zero(values: Values, strata: Strata, truth: Truth, weights: Weights) -> Scores:
  """The same with each part's R2 at least 0."""
  each = [np.maximum(_explained(*part), 0.0) for part in _parts(values, strata, truth, weights)]
  return np.mean(each, axis=0)


def correlation(values: Values, strata: Strata, truth: Truth, weights: Weights) -> Scores:
  """The mean over parts of Pearson's correlation with the truth, 0 where either does not vary."""
  each = []
  for given, true, share in _parts(values, strata, truth, weights):
    given, true = given - given.mean(axis=1, keepdims=True), true - true.mean()
    size = share.sum(axis=1, keepdims=True)
    first, second = _ratio(share @ given.T, size), _ratio(share @ true[:, None], size)
    products = _ratio(share @ (given * true).T, size) - first * second
    spreads = [_ratio(share @ np.square(x).T, size) - m**2 for x, m in ((given, first), (true[None], second))]
    each.append(_of_products(products, *spreads))
  return np.mean(each, axis=0)


def spearman(values: Values, strata: Strata, truth: Truth, weights: Weights) -> Scores:
  """The mean over parts of the correlation of ranks; ties, and the copies of an example, share their rank."""
  each = []
  for given, true, share in _parts(values, strata, truth, weights):
    size = share.sum(axis=1, keepdims=True)
    second = _ranks(true, share) - (size + 1) / 2
    scores = []
    for numbers in given:
      first = _ranks(numbers, share) - (size + 1) / 2
      sums = [(share * a * b).sum(axis=1) for a, b in ((first, second), (first, first), (second, second))]
      scores.append(_of_products(*sums))
    each.append(np.where(size > 0, np.stack(scores, axis=1), np.nan))
  return np.mean(each, axis=0)


def _explained(
    given: Float[np.ndarray, "U n"], true: Float[np.ndarray, " n"], share: Float[np.ndarray, "B n"]
) -> Scores:
  centred = true - true.mean()
  squared = share @ np.square(centred)[:, None]
  total = squared - _ratio((share @ centred[:, None]) ** 2, share.sum(axis=1, keepdims=True))
  total = np.where(total > 1e-12 * squared, total, 0.0)  # all that was drawn is the same
  return 1.0 - _ratio(share @ np.square(given - true).T, total)


def _of_products(products: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Correlation from covariance and variances, which rounding may leave a little below zero."""
  spread = np.sqrt(np.maximum(first, 0.0) * np.maximum(second, 0.0))
  return np.where(np.isnan(products), np.nan, _ratio(products, np.where(spread > 1e-12, spread, 0.0), 0.0))


def _ranks(numbers: Float[np.ndarray, " n"], share: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B n"]:
  """The rank of each example among those drawn, from 1; equal ones have the mean of theirs."""
  _, group = np.unique(numbers, return_inverse=True)
  sizes = _sums(share, group)
  return (np.cumsum(sizes, axis=1) - sizes / 2 + 0.5)[:, group]


# ---------------------------------------------------------------- pairs


def roc_auc(values: Values, strata: Strata, truth: Truth, weights: Weights) -> Scores:
  """Area under the ROC curve of `values`, similarities of pairs; `truth` is 1 for the same person, else 0."""
  return _of_pairs(
      lambda false, true: np.dot(np.diff(false), true[1:] + true[:-1]) / 2, values, truth, weights
  )


def true_accepts(rate: float) -> Measure:
  """The true accept rate at the most generous threshold whose false accept rate is at most `rate`."""

  def measure(values: Values, strata: Strata, truth: Truth, weights: Weights) -> Scores:
    return _of_pairs(
        lambda false, true: true[np.searchsorted(false, rate, side="right") - 1], values, truth, weights
    )

  return measure


def _of_pairs(
    score: Callable[[np.ndarray, np.ndarray], float], values: Values, truth: Truth, weights: Weights
) -> Scores:
  """`score` of false and true accept rates by falling threshold, from none accepted to all."""
  scores = np.full((len(weights), len(values)), np.nan)
  for seed, similarity in enumerate(values[:, 0]):
    order = np.argsort(-similarity, kind="stable")
    same = (truth[0] > 0)[order]
    ends = np.flatnonzero(np.diff(similarity[order], append=np.inf))  # of equal similarities
    for draw, share in enumerate(weights):  # one at a time stays in a cache
      ordered = share.take(order)
      every, alike = np.cumsum(ordered).take(ends), np.cumsum(ordered * same).take(ends)
      accepted = every - alike, alike  # whole numbers, which float64 adds up exactly
      if all(each[-1] > 0 for each in accepted):
        scores[draw, seed] = score(*(np.concatenate([[0.0], each / each[-1]]) for each in accepted))
  return scores


# ---------------------------------------------------------------- classes


def miou(values: Values, strata: Strata, truth: Truth, weights: Weights) -> Scores:
  """The mean over classes of the intersection over union.

  Of C classes `values` has 2 C parts: how many pixels of each picture are rightly of the class, then how many
  are of it in truth or by mistake. `truth` [C N] counts the true ones: a class that a draw does not have is
  left out.
  """
  count = len(truth)
  right, union = (
      np.stack([weights @ part.astype(np.float64).T for part in parts], axis=-1)
      for parts in (np.moveaxis(values, 1, 0)[:count], np.moveaxis(values, 1, 0)[count:])
  )
  present = (weights @ truth.astype(np.float64).T > 0)[:, None]
  each = np.where(present, _ratio(right, union, 0.0), 0.0)
  return _ratio(each.sum(axis=-1), present.sum(axis=-1).astype(np.float64))


def clustering_accuracy(values: Values, strata: Strata, truth: Truth, weights: Weights) -> Scores:
  """The share that is right after the best one-to-one assignment of clusters to classes in each draw.

  `values` are clusters, below 0 where an example was not clustered; `truth` are classes.
  """

  def score(tables: Float[np.ndarray, "b K C"]) -> Float[np.ndarray, " b"]:
    right = [table[linear_sum_assignment(table, maximize=True)].sum() for table in tables]
    return _ratio(np.asarray(right), tables.sum(axis=(1, 2)))

  return _of_tables(score, values, strata, truth, weights)


def nmi(values: Values, strata: Strata, truth: Truth, weights: Weights) -> Scores:
  """Mutual information of clusters and classes over the mean of their entropies; 1 where both are single."""

  def score(tables: Float[np.ndarray, "b K C"]) -> Float[np.ndarray, " b"]:
    sizes = tables.sum(axis=(1, 2))
    shares = _ratio(tables, sizes[:, None, None])
    parts = shares.sum(axis=2), shares.sum(axis=1), shares.reshape(len(shares), -1)
    classes, clusters, both = (-_xlogx(part).sum(axis=1) for part in parts)
    shared = np.maximum(classes + clusters - both, 0.0)
    return np.where(sizes > 0, _ratio(shared, (classes + clusters) / 2, 1.0), np.nan)

  return _of_tables(score, values, strata, truth, weights)


def _of_tables(
    score: Callable[[np.ndarray], np.ndarray], values: Values, strata: Strata, truth: Truth, weights: Weights
) -> Scores:
  """`score` of how often each draw has each class in each cluster, of each seed."""
  scores = np.zeros((len(weights), len(values)))
  for seed, clusters in enumerate(values[:, 0]):
    counted = (strata[0] >= 0) & (clusters >= 0)
    (classes, row), (names, column) = (
        np.unique(x[counted], return_inverse=True) for x in (truth[0], clusters)
    )
    cells, cell = np.unique(row * len(names) + column, return_inverse=True)
    step = max(1, AT_ONCE // (len(classes) * len(names)))
    for start in range(0, len(weights), step):
      share = weights[start : start + step, counted]
      tables = np.zeros((len(share), len(classes) * len(names)))
      tables[:, cells] = _sums(share, cell)
      scores[start : start + step, seed] = score(tables.reshape(-1, len(classes), len(names)))
  return scores


def _xlogx(shares: np.ndarray) -> np.ndarray:
  return shares * np.log(np.where(shares > 0, shares, 1.0))


# ---------------------------------------------------------------- what they share


def _parts(
    values: Values, strata: Strata, truth: Truth, weights: Weights
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Values [U n], truth [n] and weights [B n] of the examples that count, of each part."""
  for part, counted in enumerate(strata >= 0):
    true = truth[part, counted] if len(truth) else np.zeros(counted.sum())
    yield values[:, part, counted].astype(np.float64), true.astype(np.float64), weights[:, counted]


def _sums(weights: Float[np.ndarray, "B n"], group: Int[np.ndarray, " n"]) -> Float[np.ndarray, "B G"]:
  """Sums over the examples of each group; groups are numbered from 0, and none is empty."""
  order = np.argsort(group, kind="stable")
  return np.add.reduceat(weights[:, order], np.flatnonzero(np.diff(group[order], prepend=-1)), axis=1)


def _ratio(above: np.ndarray, below: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
  """`above / below`, and `otherwise` where that is not above 0."""
  there = below > 0
  return np.where(there, above / np.where(there, below, 1.0), otherwise)


MEAN = "mean"  # linear in its values
ALONE = (MEAN, "median", "ratio")  # these compare with no truth
MEASURES: Mapping[str, Measure] = {
    MEAN: mean,
    "median": median,
    "ratio": ratio,
    "r2": r2,
    "r2_from_zero": r2_from_zero,
    "correlation": correlation,
    "spearman": spearman,
    "roc_auc": roc_auc,
    **{name: true_accepts(rate) for name, rate in FALSE_ACCEPT_RATES.items()},
    "miou": miou,
    "clustering_accuracy": clustering_accuracy,
    "nmi": nmi,
}
