"""A data set of arrays in memory in the place of whatever a configuration names."""

from collections.abc import Mapping

import numpy as np

from pdr_jax.data import dataset, pipeline
from pdr_jax.elements import Element

MEANINGS = {"image": ("image", (-1.0, 1.0)), "clip": ("clip", (-1.0, 1.0)), "depth": ("depth", None), "mask": ("mask", (0.0, 1.0))}


def install(monkeypatch, train: dict[str, np.ndarray], validation: dict[str, np.ndarray], classes: Mapping = {}) -> None:
  """Makes `pipeline` open these arrays `[N, ...]`; pictures are uint8 in them and float32 in batches."""
  elements = {}
  for key, array in train.items():
    meaning, bounds = MEANINGS.get(key, (key.partition("/")[0], None))
    picture = meaning in dataset.PICTURES
    elements[key] = Element(array.shape[1:], "float32" if picture else array.dtype.name, meaning, bounds)
  splits = [dataset.memory_split(arrays) for arrays in (train, validation)]
  data = dataset.Dataset("toy", *splits, elements=elements, classes=dict(classes), skipped=[])
  monkeypatch.setattr(pipeline, "open_dataset", lambda config: data)
