"""Published data sets as their authors lay them out in a folder, `data.path`; nothing is downloaded.

Each layout is a module of `pdr_jax.data.sources`. It reads names, labels, the published split and, where
there are some, maps of classes; images then go through `image_folder`. A folder without the layout's files is
a one-line error that says what has to lie where.
"""

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from pdr_jax.data import dataset, decode, image_folder, labels, splits
from pdr_jax.errors import UserError


class Layout(NamedTuple):
  """What a folder holds.

  Attributes:
    store: the images; has `names`, `open(name)` and `where`.
    columns: labels of all images.
    words: what each image's published split is called (train, test, PublicTest ...); None where none is
      published.
    read_map: `read_map(name)` gives the classes of an image `[h, w]` uint8, at any resolution of it.
    parts: the names of these classes.
  """

  store: Any
  columns: dict[str, labels.Column]
  words: list[str] | None = None
  read_map: Callable[[str], np.ndarray] | None = None
  parts: tuple[str, ...] = ()


class Some:
  """Some of the images of another store. The others are counted as left out."""

  def __init__(self, store, keep: Callable[[str], bool], others: str = "images that are not of the set"):
    self.where, self.open, self.names = store.where, store.open, [name for name in store.names if keep(name)]
    self.left_out = dict(getattr(store, "left_out", {}))
    self.stamp = getattr(store, "stamp", lambda name: "")
    if len(self.names) < len(store.names):
      self.left_out[others] = len(store.names) - len(self.names)


def source(about: str, read: Callable[[str], Layout], advice: str) -> dataset.Source:
  """The source of a layout: `read` opens the folder at a path, `advice` says what has to lie there."""
  opener = functools.partial(open_layout, read, advice)
  return dataset.Source(about=about, open=opener, path=advice, crops=True, split_by_label=True)


def open_layout(read: Callable[[str], Layout], advice: str, config) -> dataset.Dataset:
  """The set `config.data.name` in the folder `config.data.path`.

  Raises UserError: what to place where; and as `image_folder` does.
  """
  data = config.data
  path = os.path.expanduser(data.path)
  try:
    layout = read(path)
  except UserError as error:
    raise UserError(f"{error}; {data.name}: name {advice}") from error
  except (OSError, KeyError, ValueError, IndexError) as error:
    raise UserError(
      f"data.path={path} is not {data.name} as published ({type(error).__name__}: {error}): name {advice}"
    ) from error
  names = layout.store.names
  if not names:
    raise UserError(f"data.path={path} holds no image of {data.name}: name {advice}")
  parts = tuple(map(labels.part_of, layout.words)) if layout.words else None
  labelled = labels.Labels(layout.columns, labels.describe_all(layout.columns), parts)
  maps = None
  if layout.read_map:
    read: dict[str, np.ndarray] = {}

    def read_map(name: str) -> np.ndarray:
      if name not in read:
        with layout.store.open(name) as file, Image.open(file, formats=decode.FORMATS) as image:
          read[name] = resize_map(layout.read_map(name), image.size, tuple(data.crop), data.side)
      return read[name]

    maps = image_folder.Maps(read_map, layout.parts)
  return image_folder.assemble(config, layout.store, labelled, splits.choose(data, names, labelled), maps)


def resize_map(classes: np.ndarray, size: tuple[int, int], crop: tuple[int, ...], side: int) -> np.ndarray:
  """The class `[side, side]` at the centre of each pixel of a picture after `crop`.

  `size` (width, height) is the picture's; `size` and `crop` are in its own pixels.
  """
  left, top, right, bottom = decode.crop_box(*size, crop)

  def place(low: int, high: int, extent: int, pixels: int) -> np.ndarray:
    centres = low + (np.arange(side) + 0.5) * (high - low) / side
    return np.minimum((centres * pixels / extent).astype(int), pixels - 1)

  rows, columns = place(top, bottom, size[1], classes.shape[0]), place(left, right, size[0], classes.shape[1])
  return classes[rows[:, None], columns[None]]


def classes_of(values: Iterable[Any], names: Sequence[str] = ()) -> labels.Column:
  """A column of classes without a hole: indices into `names`.

  Without `names` it may hold any numbers, which are then the names.
  """
  values = list(values)
  if not names:
    names = [str(value) for value in sorted(set(values))]
    values = [names.index(str(value)) for value in values]
  indices = np.asarray(values, np.int32)
  return labels.Column(indices, np.zeros(len(indices), bool), tuple(names), labels.CLASSES)


def numbers_of(values: Iterable[Any]) -> labels.Column:
  """A column of numbers without a hole."""
  numbers = np.array(list(values), np.float64)
  return labels.Column(numbers, np.zeros(len(numbers), bool), (), labels.NUMBERS)


def rows_of(path: str) -> list[list[str]]:
  """The words of each line that has any."""
  with open(path, encoding="utf-8") as file:
    return [line.split() for line in file if line.strip()]
