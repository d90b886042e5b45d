"""Looking things up in the records of a result, as they are read back from its file."""

import json

import numpy as np

from pdr_jax.evaluation import records
from pdr_jax.evaluation.records import Result, Score
from pdr_jax.metrics import intervals


def through_json(result: Result, folder) -> Result:
  """What a reader of the result's file gets; the same, and outcomes of examples make up their scores."""
  path = str(folder / "result.json")
  records.write(path, result)
  read = records.read(path)
  assert read.scores == result.scores and read.figure == result.figure and read.task == result.task
  assert read.protocol == json.loads(json.dumps(result.protocol))
  assert set(read.outcomes) == {entry.outcomes for entry in read.scores if entry.outcomes}
  for entry in read.scores:
    if entry.outcomes:
      given = read.outcomes[entry.outcomes]
      once = np.ones((1, given.clusters.shape[-1]))
      words = dict(truth=given.truth, measure=given.measure)
      whole = intervals.weighted_scores(given.values, given.strata, once, **words)
      # Means of means, some of float32 numbers.
      np.testing.assert_allclose(whole[0], entry.values, rtol=1e-5, atol=1e-6, err_msg=entry.outcomes)
  return read


def score(result: Result, block: str, metric: str, label: str | None = None) -> Score:
  """The one record of a block and a metric (and a label, where there are several)."""
  matching = [
    entry
    for entry in result.scores
    if (entry.block, entry.metric) == (block, metric) and label in (None, entry.label)
  ]
  assert len(matching) == 1, (block, metric, label, len(matching))
  return matching[0]


def mean(result: Result, block: str, metric: str, label: str | None = None) -> float:
  """The mean over seeds of the one record."""
  return float(np.mean(score(result, block, metric, label).values))


def metrics(result: Result, block: str) -> set[str]:
  """What there are records of for a block."""
  return {entry.metric for entry in result.scores if entry.block == block}
