"""Which method is first in a row of a study's table, and how sure that is.

A method is first where the interval of its difference to *every* other one, over seeds and test examples,
excludes zero. Each of these has to hold, so that no correction for their number is needed.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pdr_jax.evaluation import records
from pdr_jax.evaluation.joined import Samples
from pdr_jax.evaluation.representations import UNTRAINED
from pdr_jax.metrics import intervals, resampled

Column = tuple[str, str]  # method, block; block "" is all features
BEST = {"higher": max, "lower": min}
DRAWS_OF_PAIRS = 500  # there are up to 40,000 of them, whose ROC curve is drawn each time
BOTH, SEEDS = "seeds and examples", "seeds"  # what an interval is over


class Difference(NamedTuple):
  """The best of a row against another one.

  Attributes:
    other: the column that it is compared with.
    mean: the best's mean minus the other's.
    interval: 95 %, None where there is nothing to tell it from (single representations).
    over: what is drawn, `seeds and examples`, or `seeds` where nothing is known of single examples.
  """

  other: Column
  mean: float
  interval: tuple[float, float] | None
  over: str

  @property
  def sure(self) -> bool:
    """Whether the interval excludes zero and is over examples: seeds alone say nothing of other pictures."""
    known = self.interval is not None and self.over == BOTH
    return known and (self.interval[0] > 0 or self.interval[1] < 0)


class Ranking(NamedTuple):
  """The best column of a row, and its differences to the others, the nearest first."""

  best: Column
  differences: list[Difference]

  @property
  def first(self) -> bool:
    """Whether it is told apart from all others."""
    return all(difference.sure for difference in self.differences)


def rank(columns: Mapping[Column, Samples], draws: int = intervals.DRAWS) -> Ranking | None:
  """The ranking of the columns of a row; None where there is nothing to compare, or no better side."""
  direction = next((score.direction for each in columns.values() for score, _ in each), "")
  if not direction or len(columns) < 2:
    return None
  means = {column: np.mean([records.mean(score) for score, _ in each]) for column, each in columns.items()}
  if not np.isfinite(list(means.values())).all():
    return None
  best = BEST[direction](means, key=means.get)
  drawn = {column: _resampled(column, each, draws) for column, each in columns.items()}
  differences = []
  for number, column in enumerate(columns):
    if column != best:
      interval, over = _interval(best, column, columns, drawn, number)
      differences.append(Difference(column, float(means[best] - means[column]), interval, over))
  return Ranking(best, sorted(differences, key=lambda difference: abs(difference.mean)))


def _units(column: Column, samples: Samples) -> int:
  """How many seeds are drawn: those of representations; of what has a single one by its nature, of probes."""
  return len(samples[0][0].values) if _fixed(column) else len(samples)


def _fixed(column: Column) -> bool:
  method = column[0]
  return method in UNTRAINED and not UNTRAINED[method].seeded


def _resampled(
    column: Column, samples: Samples, draws: int
) -> tuple[str, Float[np.ndarray, "B U"]] | None:
  """Scores of each seed on draws of examples, and which examples; None where these are not known."""
  outcomes = [each for _, each in samples]
  if any(each is None for each in outcomes) or len({each.examples for each in outcomes}) > 1:
    return None
  if _fixed(column):
    return outcomes[0].examples, _draw(outcomes[0], draws)
  # The mean over probes of each representation, of outcomes where the score is linear in them.
  linear = all(each.measure == resampled.MEAN for each in outcomes)
  if linear and all(np.array_equal(each.strata, outcomes[0].strata) for each in outcomes):
    means = np.stack([each.values.mean(axis=0) for each in outcomes])
    return outcomes[0].examples, _draw(outcomes[0]._replace(values=means), draws)
  scores = [_draw(each, draws).mean(axis=1) for each in outcomes]
  return outcomes[0].examples, np.stack(scores, axis=1)


def _draw(outcomes: records.Outcomes, draws: int) -> Float[np.ndarray, "B U"]:
  draws = min(draws, DRAWS_OF_PAIRS) if outcomes.clusters.ndim > 1 else draws
  words = dict(truth=outcomes.truth, measure=outcomes.measure, draws=draws)
  return intervals.resampled_scores(outcomes.values, outcomes.strata, outcomes.clusters, **words)


def _interval(
    best: Column,
    other: Column,
    columns: Mapping[Column, Samples],
    drawn: Mapping[Column, tuple[str, np.ndarray] | None],
    number: int,
) -> tuple[tuple[float, float] | None, str]:
  first, second = drawn[best], drawn[other]
  paired = first is not None and second is not None and first[0] == second[0]
  over = BOTH if paired else SEEDS
  if any(_units(column, columns[column]) < 2 and not _fixed(column) for column in (best, other)):
    return None, over  # one representation says nothing of the next
  same = best[0] == other[0] and _units(best, columns[best]) == _units(other, columns[other])
  if paired:
    found = intervals.bootstrap_interval(first[1], second[1], same_seeds=same, seed=number)
    return (found if np.isfinite(found).all() else None), over  # not where no draw can be measured
  values = [_values(column, columns[column]) for column in (best, other)]
  if same:
    return intervals.paired_t_interval(np.subtract(*values).tolist()), over
  return intervals.welch_interval(*values), over


def _values(column: Column, samples: Samples) -> list[float]:
  """The score of each seed that is drawn."""
  if _fixed(column):
    return list(samples[0][0].values)
  return [records.mean(score) for score, _ in samples]


def rankings(
    every: Mapping[str, Mapping[Column, Samples]], chosen: Sequence[Column], draws: int = intervals.DRAWS
) -> dict[str, Ranking]:
  """The ranking of each row among the columns `chosen`, by its title."""
  ranked = {}
  for title, columns in every.items():
    ranking = rank({column: columns[column] for column in chosen if column in columns}, draws)
    if ranking is not None:
      ranked[title] = ranking
  return ranked
