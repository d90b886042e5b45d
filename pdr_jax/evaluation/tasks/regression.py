"""Numbers to predict, such as age or valence: ridge regression on frozen features."""

from collections.abc import Iterator, Sequence

import numpy as np

from pdr_jax.errors import UserError
from pdr_jax.evaluation import records
from pdr_jax.evaluation.features import Features, check, is_class, labelled, people_in, select, size, subsets
from pdr_jax.evaluation.probes import ridge
from pdr_jax.evaluation.records import Result
from pdr_jax.evaluation.task import Context, Job, Task, numbers
from pdr_jax.metrics import regression as regression_metrics

MEAN = "mean of train"  # the block of what needs no features


def regression(
    train: Features, test: Features, label: str, *, seeds: Sequence[int] = range(5), identity: str = ""
) -> Result:
  """Ridge on standardised features, with the penalty of the best R2 on a part of train.

  The seed holds out that part. Scores are those of `metrics.regression`, in units of the label; the block
  "mean of train" is what guessing the mean would get. `identity` names
  the label of the person. Raises `UserError` where a split has nothing to learn from or to test on.
  """
  for split, part in (("train", train), ("test", test)):
    check(part, split, [label])
    if is_class(part, label):
      raise UserError(f"label {label!r} holds classes, not numbers: classify it")
  train, test = labelled(train, [label]), labelled(test, [label])
  for split, part, fewest in (("train", train, 5), ("test", test, 2)):
    if size(part) < fewest:
      raise UserError(
          f"label {label!r}: the {split} split has {size(part)} examples of it, and {fewest} are needed"
      )
  targets, truth = (np.asarray(part.labels[label], np.float64) for part in (train, test))
  if np.ptp(targets) == 0:
    raise UserError(
        f"label {label!r} has the same value in the whole train split: there is nothing to learn; choose "
        "another"
    )
  guess = regression_metrics.regression(truth, np.full_like(truth, targets.mean()))
  scores, penalties, outcomes = _of_block(label, MEAN, [guess], {}), {}, {}
  people = people_in(test, identity)
  for block, subset in subsets(train.blocks).items():
    inputs = select(train, subset), select(test, subset)
    predictions = [
        ridge.predict(inputs[0], targets[:, None], inputs[1], l2=ridge.L2, seed=seed) for seed in seeds
    ]
    runs = [regression_metrics.regression(truth, prediction.predicted[:, 0]) for prediction in predictions]
    titles = {
        "mean_absolute_error": f"{label}, ridge, mean absolute error",
        "r2": f"{label}, ridge, R2",
        "spearman": f"{label}, ridge, Spearman",
    }
    predicted = np.stack([each.predicted.T for each in predictions])
    each = {"mean_absolute_error": records.outcomes_of(np.abs(predicted - truth), truth[None], people=people)}
    for name in ("r2", "spearman"):
      each[name] = records.outcomes_of(predicted, truth[None], people=people, measure=name)
    named, used = records.with_outcomes(_of_block(label, block, runs, titles), each)
    scores += named
    outcomes |= used
    penalties[block] = [prediction.l2[0] for prediction in predictions]
  protocol = {
      "description": "regression",
      "labels": [label],
      "train": size(train),
      "test": size(test),
      "seeds": list(seeds),
      "subsets": {name: list(subset) for name, subset in subsets(train.blocks).items()},
      "held_out": ridge.HELD_OUT,
      "solver": "ridge, closed form",
      "l2": list(ridge.L2),
      "selection": ridge.SELECTION,
      "standardised": "with the mean and deviation of train",
  }
  return Result(f"regression/{label}", protocol, tuple(scores), {"l2": penalties}, outcomes=outcomes)


def _of_block(
    label: str, block: str, runs: Sequence[dict[str, float]], titles: dict[str, str]
) -> list[records.Score]:
  scores = records.of_runs("regression", label, block, runs, headlines=titles)
  lower = ("mean_absolute_error",)
  return [score._replace(direction="lower") if score.metric in lower else score for score in scores]


def jobs(context: Context) -> Iterator[Job]:
  """One for each label of numbers."""
  for name in numbers(context):
    yield f"regression/{name}", lambda name=name: regression(
        context.train, context.test, name, **context.probes
    )


TASK = Task(jobs, order=15)
