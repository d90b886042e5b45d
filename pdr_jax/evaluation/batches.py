"""Batches of the data for an evaluation.

They hold the representation's input as its method reads it, and chosen truth.
"""

import json
from collections.abc import Collection

from ml_collections import ConfigDict

from pdr_jax.data import pipeline
from pdr_jax.elements import ElementSpec


def of_split(
    run: ConfigDict, reads: ElementSpec, split: str, keys: Collection[str] | None = None
) -> pipeline.Batches:
  """One pass over a split in fixed order, padded by `_mask`.

  `reads` is the representation's input; `keys` are what else is wanted, None is all that the data has.
  """
  wanted = None if keys is None else present(run, reads, keys)
  return pipeline.validation_batches(run, reads=reads, keys=wanted, split=split)


def for_training(run: ConfigDict, reads: ElementSpec, keys: Collection[str]) -> pipeline.TrainIterator:
  """Shuffled batches without end, with the representation's input and, of `keys`, what the data has."""
  spec = pipeline.published(run, reads)
  return pipeline.train_iterator(run, {key: spec[key] for key in present(run, reads, keys)})


def present(run: ConfigDict, reads: ElementSpec, keys: Collection[str]) -> list[str]:
  """The representation's input, and those of `keys` that the data has."""
  return [*reads, *(key for key in keys if key in pipeline.published(run, reads))]


def data_in_words(run: ConfigDict, **more: str) -> str:
  """Changes with the data: what is asked for, and what is there, because a folder may have changed."""
  data = run.data.to_dict() | more | {"description": pipeline.describe(run)._replace(skipped=())}
  return json.dumps(data, sort_keys=True, default=str)
