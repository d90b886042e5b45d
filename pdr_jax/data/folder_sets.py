"""Published data sets as their authors lay them out in a folder, `data.path`; nothing is downloaded.

Each layout is a module of `pdr_jax.data.sources`. It reads names, labels, the published split and, where
there are some, maps of classes; images then go through `image_folder`. A folder without the layout's files is
a one-line error that says what has to lie where.
"""

import csv
import functools
import io
import os
import types
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from pdr_jax.data import dataset, decode, image_folder, labels, splits
from pdr_jax.errors import UserError


class Layout(NamedTuple):
  """What a folder holds.

  Attributes:
    store: the images (`stores.Store`).
    columns: labels of all images.
    words: what each image's published split is called (train, test, PublicTest ...); None where none is
      published.
    maps: of classes, `[h, w]` at any resolution of the image.
    apart: the column, such as the person, whose values are kept apart unless `data.split_by` says another
      one; "" where a random split does no harm.
  """

  store: Any
  columns: dict[str, labels.Column]
  words: list[str] | None = None
  maps: image_folder.Maps | None = None
  apart: str = ""


class Some:
  """Some of the images of another store. The others are counted as left out."""

  def __init__(self, store, keep: Callable[[str], bool], others: str = "images that are not of the set"):
    self.where, self.open, self.names = store.where, store.open, [name for name in store.names if keep(name)]
    self.left_out = dict(getattr(store, "left_out", {}))
    self.stamp = store.stamp
    if len(self.names) < len(store.names):
      self.left_out[others] = len(store.names) - len(self.names)


class Pixels:
  """Grey images that lie in memory, `{name: [h, w] uint8}`."""

  def __init__(self, where: str, pixels: Mapping[str, np.ndarray]):
    self.where, self.names, self._pixels = where, list(pixels), pixels

  def open(self, name: str) -> io.BytesIO:
    grey = self._pixels[name]
    return io.BytesIO(b"P5 %d %d 255\n" % grey.shape[::-1] + grey.tobytes())

  def stamp(self, name: str) -> str:
    """What changes with the pixels of an image: their checksum."""
    return str(zlib.crc32(self._pixels[name].tobytes()))


NO_OPTIONS: Mapping[str, dataset.Option] = types.MappingProxyType({})


def source(
  about: str, read: Callable[..., Layout], advice: str, options: Mapping[str, dataset.Option] = NO_OPTIONS
) -> dataset.Source:
  """The source of a layout: `read(path)` opens a folder, `advice` says what has to lie there and where to get
  it; `read` gets the values of the options by name.
  """
  opener = functools.partial(open_layout, read, advice, options)
  return dataset.Source(
    about=about, open=opener, path=advice, crops=True, split_by_label=True, options=options
  )


def open_layout(
  read: Callable[..., Layout], advice: str, options: Mapping[str, dataset.Option], config
) -> dataset.Dataset:
  """The set `config.data.name` in the folder `config.data.path`.

  Raises UserError: what to place where; and as `image_folder` does.
  """
  data = config.data
  path = os.path.expanduser(data.path)
  values = dataset.options_of(data, options)
  try:
    layout = read(path, **values)
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
  maps = layout.maps
  if maps:
    at_any_size = maps.read
    read: dict[str, np.ndarray] = {}

    def read_map(name: str) -> np.ndarray:
      if name not in read:
        with layout.store.open(name) as file, Image.open(file, formats=decode.FORMATS) as image:
          read[name] = resize_map(at_any_size(name), image.size, tuple(data.crop), data.side)
      return read[name]

    maps = maps._replace(read=read_map)
  chosen = splits.choose(data, names, labelled, layout.apart)
  return image_folder.assemble(config, layout.store, labelled, chosen, maps)


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
    index = {name: i for i, name in enumerate(names)}
    values = [index[str(value)] for value in values]
  indices = np.asarray(values, np.int32)
  return labels.Column(indices, np.zeros(len(indices), bool), tuple(names), labels.CLASSES)


def numbers_of(values: Iterable[Any], missing: np.ndarray | None = None) -> labels.Column:
  """A column of numbers, without a hole unless `missing` marks some."""
  numbers = np.array(list(values), np.float64)
  missing = np.zeros(len(numbers), bool) if missing is None else missing
  return labels.Column(numbers, missing, (), labels.NUMBERS)


def rows_by_file(path: str, store: Any, columns: Sequence[str]) -> list[dict[str, str]]:
  """The row of each picture of a store in a table whose first column, `file`, names them.

  Raises UserError: a column that is not there, a picture without a row.
  """
  with open(path, newline="", encoding="utf-8") as file:
    reader = csv.DictReader(file)
    if missing := [name for name in ("file", *columns) if name not in (reader.fieldnames or ())]:
      raise UserError(f"{path} has no column {missing[0]}")
    rows = {row["file"]: row for row in reader}
  if strangers := [name for name in store.names if name not in rows]:
    raise UserError(f"{path} has no line for {strangers[0]}")
  return [rows[name] for name in store.names]


def rows_of(path: str) -> list[list[str]]:
  """The words of each line that has any."""
  with open(path, encoding="utf-8") as file:
    return [line.split() for line in file if line.strip()]
