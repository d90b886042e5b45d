"""Small NORB (LeCun, Huang, Bottou 2004) as clips: an object turns at one elevation and under one lighting.

Fifty toys of five categories, half of them in the training files and half in those for the test; 9
elevations, 6 lightings, 18 azimuths, 96 x 96 grey; of the stereo pairs the left pictures.
"""

import gzip
import os
import zlib
from collections.abc import Collection
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from pdr_jax.data import stores, transforms
from pdr_jax.data.dataset import Arrays, Dataset, Split, elements_of
from pdr_jax.errors import UserError

STEMS = {
  "train": "smallnorb-5x46789x9x18x6x2x96x96-training",
  "test": "smallnorb-5x01235x9x18x6x2x96x96-testing",
}
ADVICE = "the folder with " + " and ".join(f"{stem}-dat.mat, -cat.mat, -info.mat" for stem in STEMS.values())
TYPES = {0x1E3D4C55: np.dtype(np.uint8), 0x1E3D4C54: np.dtype("<i4")}  # by the magic number of a file
CATEGORIES = ("animal", "human", "airplane", "truck", "car")
AZIMUTHS, DEGREES = 18, 10  # stored as tens of degrees: 0, 2, ..., 34
HELD_OUT = 10  # every so manieth clip of the training files is for validation
INSTANCES = 10  # of a category


class Part(NamedTuple):
  """One pair of files: pictures, and of each its category and (instance, elevation, azimuth, lighting)."""

  images: UInt8[np.ndarray, "N s s"]
  category: Int[np.ndarray, " N"]
  info: Int[np.ndarray, "N 4"]


def read_matrix(path: str) -> np.ndarray:
  """An array of the set's binary format, with `.gz` or without. Raises `UserError`."""
  actual = _file(path)
  try:
    with gzip.open(actual) if actual.endswith(".gz") else open(actual, "rb") as file:
      data = file.read()
  except (OSError, EOFError, zlib.error) as error:
    raise UserError(f"{actual} cannot be read ({error})") from error
  head = np.frombuffer(data[:8], "<u4")
  if len(head) < 2 or int(head[0]) not in TYPES or not 1 <= head[1] <= 4:
    raise UserError(f"{actual} is no matrix of small NORB")
  dtype, axes = TYPES[int(head[0])], int(head[1])
  stored = max(3, axes)  # at least so many sizes stand in the head
  shape = tuple(np.frombuffer(data[8 : 8 + 4 * stored], "<i4")[:axes].tolist())
  start = 8 + 4 * stored
  if len(data) - start != int(np.prod(shape)) * dtype.itemsize:
    raise UserError(f"{actual} is damaged: its head says {shape}, and it has {len(data) - start} bytes")
  return np.frombuffer(data, dtype, offset=start).reshape(shape)


def _file(path: str) -> str:
  """This file, or the one with `.gz`. Raises `UserError`."""
  actual = path if os.path.isfile(path) else f"{path}.gz"
  if not os.path.isfile(actual):
    raise UserError(f"there is no {path} (or .gz): data.path must be {ADVICE}")
  return actual


def read_part(folder: str, stem: str) -> Part:
  """The three files of a part. Raises `UserError`."""
  images, category, info = map(read_matrix, _paths(folder, stem))
  if not len(images) == len(category) == len(info):
    raise UserError(f"{folder}: the files of {stem} are of different lengths")
  return Part(images[:, 0], category.reshape(-1), info)


def _paths(folder: str, stem: str) -> list[str]:
  """The files of a part, without `.gz`: pictures, categories and the rest."""
  return [os.path.join(folder, f"{stem}-{kind}.mat") for kind in ("dat", "cat", "info")]


def clips_of(part: Part, frames: int) -> Int[np.ndarray, "C T"]:
  """The pictures of each clip: so many azimuths in a row of one object, elevation and lighting."""
  instance, elevation, azimuth, lighting = part.info.T
  order = np.lexsort((azimuth, lighting, elevation, instance, part.category))
  whole = order[: len(order) // AZIMUTHS * AZIMUTHS].reshape(-1, AZIMUTHS)
  count = AZIMUTHS // frames
  return whole[:, : count * frames].reshape(-1, frames)


class _Clips:
  """`Split.load` of the clips `rows [C, T]` of a part."""

  def __init__(self, part: Part, rows: Int[np.ndarray, "C T"], data: Any):
    self._part, self._rows, self._data = part, rows, data

  def __call__(self, indices: Int[np.ndarray, " n"], keys: Collection[str]) -> Arrays:
    rows, part = self._rows[indices], self._part
    first = rows[:, 0]
    arrays = {
      "label/category": part.category[first],
      "label/instance": part.category[first] * INSTANCES + part.info[first, 0],
      "label/elevation": part.info[first, 1],
      "label/lighting": part.info[first, 3],
    }
    arrays = {key: values.astype(np.int32) for key, values in arrays.items()}
    arrays["label/azimuth_deg"] = DEGREES * part.info[rows, 2].astype(np.float64)
    if "clip" in keys:
      grey = part.images[rows.reshape(-1)]
      side = self._data.side
      if side != grey.shape[1]:
        way = cv2.INTER_AREA if side < grey.shape[1] else cv2.INTER_CUBIC
        grey = np.stack([cv2.resize(image, (side, side), interpolation=way) for image in grey])
      clip = grey.reshape(*rows.shape, side, side, 1)
      arrays["clip"] = transforms.to_channels(clip, self._data.channels)
    return {key: array for key, array in arrays.items() if key in keys}


def open_norb(data: Any) -> Dataset:
  """The data set of a configuration's section `data`. Raises `UserError`."""
  if not 1 <= data.frames <= AZIMUTHS:
    raise UserError(f"data.frames={data.frames}: {data.name} has clips of 1 to {AZIMUTHS} frames")
  folder = os.path.expanduser(data.path)
  train, test = (read_part(folder, stem) for stem in STEMS.values())
  rows = clips_of(train, data.frames)
  held_out = np.arange(len(rows)) % HELD_OUT == 0
  chosen = {
    "train": (train, rows[~held_out], data.train_examples),
    "validation": (train, rows[held_out], data.val_examples),
    "test": (test, clips_of(test, data.frames), 0),
  }
  splits = {}
  for turn, (name, (part, clips, limit)) in enumerate(chosen.items()):
    mixed = np.random.default_rng([data.scene_seed, turn]).permutation(clips)[: limit or None]
    splits[name] = Split(len(mixed), _Clips(part, mixed, data), in_memory=True)
  names = {
    "category": CATEGORIES, "instance": tuple(map(str, range(5 * INSTANCES))),
    "elevation": tuple(map(str, range(9))), "lighting": tuple(map(str, range(6))), "azimuth_deg": (),
  }
  classes = {f"label/{name}": words for name, words in names.items()}
  return Dataset(
    name=data.name,
    train=splits["train"],
    validation=splits["validation"],
    elements=elements_of(splits["train"].load(np.arange(1), ["clip", *classes])),
    classes=classes,
    skipped=[],
    note="objects of the test files are seen in no other split",
    tests={"test": splits["test"]},
    fingerprint=stores.fingerprint_of(
      _file(path) for stem in STEMS.values() for path in _paths(folder, stem)
    ),
  )
