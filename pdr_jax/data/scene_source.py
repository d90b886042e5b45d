"""Embedded worlds as data sets: rendered on first use, read from array_record, images kept in memory."""

from typing import Any

import numpy as np

from pdr_jax.data import dataset, tfds_source


def _stack(examples: list[Any]) -> Any:
  """A list of (nested) examples as one with a leading axis."""
  if isinstance(examples[0], dict):
    return {key: _stack([example[key] for example in examples]) for key in examples[0]}
  return np.stack(examples)


def _rows(tree: Any, indices: np.ndarray) -> Any:
  return {key: _rows(value, indices) for key, value in tree.items()} if isinstance(tree, dict) else tree[indices]


class _Scenes:
  """`Split.load`. `images` [N, S, S, 3] uint8 or None; `stored`: the stored form of everything [N, ...], or None; what is not in memory is
  read from `image_source` or `source`."""

  def __init__(self, image_source, source, images: np.ndarray | None, stored: dict | None):
    self._image_source, self._source, self._images, self._stored = image_source, source, images, stored

  def __call__(self, indices: np.ndarray, image_only: bool) -> dict[str, np.ndarray]:
    from pdr_jax.data.scenes import builder  # brings in TFDS, slow to import
    if image_only:
      read = self._images[indices] if self._images is not None else np.stack([self._image_source[int(i)]["image"] for i in indices])
      return {"image": read}
    rows = _rows(self._stored, indices) if self._stored is not None else _stack([self._source[int(i)] for i in indices])
    return {**builder.decode_example(rows), "image": rows["image"]}  # every operation of it works on batches too


def _read_all(source, title: str) -> dict:
  examples: list[Any] = [None] * len(source)

  def work(i: int) -> None:
    examples[i] = source[i]

  dataset.for_each(len(source), work, title)
  return _stack(examples)


def open_scenes(config) -> dataset.Dataset:
  """The world `config.data.name` with exact truth. Rendered where there is no copy of this size, side and seed yet. Raises UserError."""
  from pdr_jax.data.scenes import builder
  data, prepared = config.data, builder.builder_for(config)
  pixels = data.side * data.side

  def make(split: str, truth_in_memory: bool) -> dataset.Split:
    image_source = tfds_source.Reader(prepared, split, ["image"], encoded=False)
    source = prepared.as_data_source(split)
    in_memory = dataset.fits_in_memory(len(source) * pixels * (12 if truth_in_memory else 3))  # bytes per pixel as stored
    images, stored = None, None
    if in_memory and truth_in_memory:
      stored = _read_all(source, f"reading {data.name} {split}")
      images = stored["image"]
    elif in_memory:
      images = _read_all(image_source, f"reading {data.name} {split}")["image"]
    return dataset.Split(len(source), _Scenes(image_source, source, images, stored), in_memory)

  # Validation is read with its truth again and again; training needs its truth for probes only, once; the tests are read once.
  train, validation = make("train", False), make("validation", True)
  tests = {split: dataset.Split(len(source), _Scenes(source, source, None, None), in_memory=False)
           for split in prepared.SPLITS[2:] for source in (prepared.as_data_source(split),)}
  classes = {f"label/{name}": tuple(prepared.CLASSES.get(name, ())) for name in prepared.info.features["label"]}
  if prepared.PARTS:
    classes["segmentation"] = prepared.PARTS
  return dataset.Dataset(name=data.name, train=train, validation=validation, has_truth=True, skipped=[], classes=classes,
                         note="" if train.in_memory else dataset.LAZY_NOTE, tests=tests)
