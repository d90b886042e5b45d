"""Embedded worlds as data sets: rendered on first use, then read from array_record.

Their pictures are kept in memory where they fit.
"""

import os
from collections.abc import Collection
from typing import Any

import numpy as np

from pdr_jax.data import dataset, sequences, tfds_files, transforms
from pdr_jax.data.dataset import Arrays, Dataset, Split
from pdr_jax.data.scenes import builder, clips, landmarks

LANDMARKS = "canonical_landmarks"  # `scenes.landmarks.CANONICAL` at the zero view: u, v, depth
_BYTES = 12  # per pixel of everything as it is stored; 3 of them are the image's


class _Examples:
  """`Split.load` of one split of a prepared world.

  Arrays in `memory`, by feature, are not read from its files.
  """

  def __init__(self, world: builder.SceneBuilder, split: str, channels: int):
    self._world, self._split, self._channels = world, split, channels
    self.memory: Arrays = {}
    self._basis = _landmarks(world)
    self._readers: dict[tuple[str, ...], tfds_files.Reader] = {}

  def __call__(self, indices: np.ndarray, keys: Collection[str]) -> Arrays:
    wanted = [key for key in published(self._world) if key in keys]
    features = {_feature(key) for key in wanted}
    rows = {feature: self.memory[feature][indices] for feature in features & self.memory.keys()}
    if missing := sorted(features - self.memory.keys()):
      rows |= self.read(indices, missing)
    pictures = {key: rows[key] for key in wanted if key in dataset.PICTURES}
    truth = builder.decode({feature: rows[feature] for feature in features - pictures.keys()})
    if LANDMARKS in wanted:
      truth[LANDMARKS] = landmarks.canonical(self._basis, truth["weights"], self._world.builder_config.side)
    return pictures | {key: truth[key] for key in wanted if key in truth}

  def read(self, indices: np.ndarray, features: list[str], title: str = "") -> Arrays:
    """The features as they are stored, from the files.

    They are read many at a time where there is a title for the progress bar.
    """
    if tuple(features) not in self._readers:
      opened = tfds_files.Reader(self._world, self._split, features, encoded=False)
      self._readers[tuple(features)] = opened
    reader = self._readers[tuple(features)]
    rows: list[Any] = [None] * len(indices)

    def work(i: int) -> None:
      example = reader[int(indices[i])]
      values = {feature: np.asarray(tfds_files.at(example, feature)) for feature in features}
      rows[i] = {
        feature: transforms.to_channels(value, self._channels) if feature in dataset.PICTURES else value
        for feature, value in values.items()
      }

    if title:
      dataset.for_each(len(indices), work, title)
    else:
      for i in range(len(indices)):
        work(i)
    return {feature: np.stack([row[feature] for row in rows]) for feature in features}


def published(world: builder.SceneBuilder) -> list[str]:
  """The keys of an example of a world."""
  keys = [key for key in world.info.features if key != "label"] + ["mask"]
  keys += [LANDMARKS] if world.LANDMARKS else []
  return keys + [f"label/{name}" for name in world.info.features["label"]]


def _feature(key: str) -> str:
  """The stored feature behind a key."""
  return {"mask": "depth", LANDMARKS: "weights"}.get(key, key)


def _landmarks(world: builder.SceneBuilder) -> landmarks.Basis | None:
  """What moves the landmarks of a prepared world, None where it has none."""
  if not world.LANDMARKS:
    return None
  return landmarks.stored_basis(os.path.join(world.data_dir, "landmarks.npz"), lambda: world.world()[0])


def open_world(data: Any, world: type[builder.SceneBuilder]) -> Dataset:
  """A world with exact truth. It is rendered where there is no copy of this size, side and seed yet.

  Args:
    data: the section of the configuration.
    world: the builder's class.

  Raises UserError.
  """
  prepared = builder.prepared(world, data)
  pixels, keys = data.side * data.side, published(prepared)

  def make(split: str, in_memory: Collection[str]) -> Split:
    load, size = _Examples(prepared, split, data.channels), prepared.info.splits[split].num_examples
    fits = dataset.fits_in_memory(size * pixels * (_BYTES if len(in_memory) > 1 else data.channels))
    if in_memory and fits:
      features = sorted({_feature(key) for key in in_memory})
      load.memory = load.read(np.arange(size), features, f"reading {data.name} {split}")
    return Split(size, load, in_memory=bool(in_memory) and fits)

  # Validation is read with its truth again and again, training for probes only, and the tests once.
  train, validation = make("train", ["image"]), make("validation", keys)
  classes = {
    f"label/{name}": tuple(prepared.CLASSES.get(name, ())) for name in prepared.info.features["label"]
  }
  single = Dataset(
    name=data.name,
    train=train,
    validation=validation,
    elements=dataset.elements_of(validation.load(np.arange(1), keys)),
    classes=classes | ({"segmentation": prepared.PARTS} if prepared.PARTS else {}),
    skipped=[],
    note="" if train.in_memory else dataset.LAZY_NOTE,
    tests={split: make(split, []) for split in prepared.SPLITS[2:]},
    folder=str(prepared.data_dir),
    fingerprint=prepared.builder_config.name if data.path else "",  # it has a checksum of the shapes
  )
  return sequences.of_frames(single, data.frames, clips.PER_FRAME) if data.frames else single
