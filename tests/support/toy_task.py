"""A task in one file: how far the features lie from the origin.

No other file knows it; its dotted path finds it.
"""

from collections.abc import Iterator

import numpy as np

from pdr_jax.evaluation.features import select, size, subsets
from pdr_jax.evaluation.records import Figure, Result, Score
from pdr_jax.evaluation.task import Context, Job, Task


def defaults() -> dict[str, float]:
  """The section of the evaluation's configuration."""
  return dict(
    scale=2.0,  # what lengths are multiplied by
  )


def lengths(context: Context) -> Result:
  """The mean length of the test features of every block."""
  scores = []
  for block, subset in subsets(context.test.blocks).items():
    length = np.linalg.norm(select(context.test, subset), axis=1).mean() * context.settings.scale
    scores.append(
      Score("toy_task", "length", block, "mean", (float(length),), "lower", headline="toy, length")
    )
  protocol = {"description": "lengths of features", "test": size(context.test)}
  return Result(
    "toy_task", protocol, tuple(scores), figure=Figure("matrix", "mean", "lengths", upwards="length")
  )


def jobs(context: Context) -> Iterator[Job]:
  """One, whatever the data."""
  yield "toy_task", lambda: lengths(context)


TASK = Task(jobs, defaults)
