"""Single grey pictures of digits, or of anything else in MNIST's files, as a data set with their classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pdr_jax.data import dataset, digits, stores
from pdr_jax.data.dataset import Dataset
from pdr_jax.data.digits import Glyphs
from pdr_jax.data.transforms import to_channels

LABEL = "label/digit"


def open_glyphs(data: Any, parts: Mapping[str, Glyphs]) -> Dataset:
  """The parts `train`, `validation` and `test` as splits, at most as many pictures as `data` asks for."""
  sizes = {"train": data.train_examples, "validation": data.val_examples, "test": 0}
  arrays = {}
  for name, glyphs in parts.items():
    rows = slice(0, sizes[name] or len(glyphs.labels))
    images = to_channels(np.ascontiguousarray(glyphs.images[rows][..., None]), data.channels)
    arrays[name] = {"image": images, LABEL: glyphs.labels[rows].astype(np.int32)}
  names = tuple(str(i) for i in range(int(max(glyphs.labels.max() for glyphs in parts.values())) + 1))
  return Dataset(
    name=data.name,
    train=dataset.memory_split(arrays["train"]),
    validation=dataset.memory_split(arrays["validation"]),
    elements=dataset.elements_of(arrays["train"]),
    classes={LABEL: names},
    skipped=[],
    tests={"test": dataset.memory_split(arrays["test"])},
  )


def embedded(config) -> Dataset:
  """scikit-learn's digits."""
  return open_glyphs(config.data, digits.embedded(config.data.side))


def of_folder(config) -> Dataset:
  """MNIST, Fashion-MNIST, or whatever lies in files of their names. Raises UserError."""
  path = config.data.path
  opened = open_glyphs(config.data, digits.of_folder(path, config.data.side))
  return opened._replace(fingerprint=stores.fingerprint_of(digits.files(path)))
