"""A data set of arrays in memory in the place of whatever a configuration names."""

from collections.abc import Mapping

import numpy as np

from pdr_jax.data import dataset, pipeline


def install(
  monkeypatch, train: dict[str, np.ndarray], validation: dict[str, np.ndarray], classes: Mapping | None = None
) -> None:
  """Makes `pipeline` open these arrays `[N, ...]`; pictures are uint8 in them and float32 in batches."""
  splits = [dataset.memory_split(arrays) for arrays in (train, validation)]
  elements = dataset.elements_of(train)
  data = dataset.Dataset("toy", *splits, elements=elements, classes=dict(classes or {}), skipped=[])
  monkeypatch.setattr(pipeline, "open_dataset", lambda config: data)
