"""Any folder or zip of images as a data set: labels, splits, clips; what cannot be used is left out by name.
"""

import functools
import hashlib
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from pdr_jax.data import dataset, decode, label_files, splits, stores, transforms
from pdr_jax.data import labels as label_lib
from pdr_jax.data.stores import open_store  # for the layouts
from pdr_jax.errors import UserError

__all__ = ["Maps", "assemble", "open_image_folder", "open_store"]


class Maps(NamedTuple):
  """Maps of classes beside the images.

  Attributes:
    read: `read(name)` gives the classes of an image, uint8.
    parts: the names of the classes.
    stamp: `stamp(name)` changes with the files of an image's map.
  """

  read: Callable[[str], np.ndarray]
  parts: tuple[str, ...]
  stamp: Callable[[str], str]


def open_image_folder(config) -> dataset.Dataset:
  """The images under `config.data.path`: a folder, a .zip, or a folder that holds one zip.

  Labels come from tables (`label_files`), or else from one folder for each class; each is `label/NAME`. The
  split depends on names and `data.scene_seed` only, so runs with different training seeds validate on the
  same images. Decoded images stay in memory where they fit (`dataset.fits_in_memory`); of large sets, headers
  are checked now and files are decoded when they are first read.

  Raises UserError: path missing or not a zip, no image, no usable image, a crop that fits none, labels that
  cannot be read, an unknown split column, an empty split.
  """
  data = config.data
  store = open_store(data.path)
  labelled = label_files.read(store, label_lib.read_kinds(data.label_kinds))
  return assemble(config, store, labelled, splits.choose(data, store.names, labelled))


def assemble(
    config, store: Any, labelled: label_lib.Labels, chosen: splits.Chosen, maps: Maps | None = None
) -> dataset.Dataset:
  """A Dataset of the images of a store.

  Args:
    config: `data.side`, `data.channels`, `data.frames` and `data.crop` are read.
    store: has `names`, `open(name)`, `stamp(name)` and `where`.
    labelled: labels of all names.
    chosen: indices of the images in train, validation and test (may be empty); each a multiple of
      `data.frames`, where that is not 0: so many images in a row are then one clip, and none of it is left
      where one of them cannot be read.
    maps: maps of classes beside the images, `[side, side]`.

  Raises UserError as `open_image_folder`.
  """
  data, names = config.data, store.names
  decode.check_crop(data.crop)
  order = [*chosen.train, *chosen.validation, *chosen.test]
  in_memory = dataset.decode_first(len(order), (data.side, data.side, data.channels))
  files = [names[i] for i in order]
  images, bad, sizes = _read_all(store, files, data, in_memory)
  with_it = "; its clip is left out" if data.frames else ""
  skipped = [(stores.printable(names[order[i]]), f"{bad[i]}{with_it}") for i in sorted(bad)]
  if len(bad) == len(order):
    _raise_nothing(store.where, bad, skipped)

  def make(start: int, stop: int, split: str) -> dataset.Split:
    length = data.frames or 1  # of a clip
    lost = {(i - start) // length for i in bad}
    rows = [i for i in range(start, stop) if (i - start) // length not in lost]
    if not rows:
      advice = "add images, or change data.split_by"
      raise UserError(f"data.path={store.where}: no image is left for {split} out of {len(order)}; {advice}")
    part = [names[order[i]] for i in rows]
    columns = label_lib.arrays(labelled, [order[i] for i in rows])
    if in_memory:
      # The rows of a split are nearly always contiguous: then this is a view, not a second copy of the set.
      contiguous = len(rows) == rows[-1] + 1 - rows[0]
      pixels = images[rows[0] : rows[-1] + 1] if contiguous else images[rows]
      made = dataset.memory_split({"image": pixels, **columns})
    else:
      made = dataset.Split(len(rows), _LazySplit(store, part, columns, data, skipped), in_memory=False)
    return made._replace(load=_WithMaps(made.load, part, maps)) if maps else made

  first, second = len(chosen.train), len(chosen.train) + len(chosen.validation)
  return dataset.Dataset(
      name=f"{data.name} {store.where}",
      train=make(0, first, "training"),
      validation=make(first, second, "validation"),
      elements=_elements(data, labelled, maps),
      classes=_classes(labelled, maps),
      skipped=skipped,
      note="" if in_memory else dataset.LAZY_NOTE,
      report=(*_report(store, labelled, chosen, data), *_mixed(files, sizes, data.frames)),
      tests={"test": make(second, len(order), "test")} if chosen.test else {},
      fingerprint=_fingerprint(store, order, labelled, chosen, maps),
  )


def _fingerprint(
    store: Any, order: Sequence[int], labelled: label_lib.Labels, chosen: splits.Chosen, maps: Maps | None
) -> str:
  """Changes with the files (their sizes and times, or checksums), their maps, their labels and the split."""
  said = hashlib.blake2b(repr([len(part) for part in chosen[:3]]).encode(), digest_size=16)
  for name in (store.names[i] for i in order):
    of_files = [name, store.stamp(name)] + ([maps.stamp(name)] if maps else [])
    said.update("".join(f"{word}\0" for word in of_files).encode("utf-8", "surrogateescape"))
  for key, values in label_lib.arrays(labelled, order).items():
    said.update(key.encode() + values.tobytes())
  return said.hexdigest()


def _report(store: Any, labelled: label_lib.Labels, chosen: splits.Chosen, data) -> tuple[str, ...]:
  """What was read and what was not, line by line."""
  left_out = stores.describe_left_out(getattr(store, "left_out", {}))
  lines = [f"{len(store.names):,} images in {store.where}" + (f"; left out: {left_out}" if left_out else "")]
  if data.crop:
    lines.append(f"each is cut to data.crop={tuple(data.crop)}; '()' is the centre square")
  lines += [*labelled.notes, chosen.note] if labelled.columns else [*labelled.notes, chosen.note, "no labels"]
  return tuple(filter(None, lines))


def _mixed(names: Sequence[str], sizes: Mapping[int, tuple[int, int]], frames: int) -> list[str]:
  """Says where frames of one clip are of several sizes."""
  pairs = []
  for start in range(0, len(names) if frames else 0, frames or 1):
    known = [i for i in range(start, start + frames) if i in sizes]
    pairs += [(known[0], i) for i in known if sizes[i] != sizes[known[0]]][:1]
  if not pairs:
    return []
  first = [f"{stores.printable(names[i])} ({sizes[i][0]}x{sizes[i][1]})" for i in pairs[0]]
  return [
    f"{len(pairs):,} clips have frames of several sizes, the first with {' and '.join(first)}; each frame is "
    "cut and scaled by itself"
  ]


def _elements(data, labelled: label_lib.Labels, maps: Maps | None) -> dict:
  arrays = {"image": np.empty((0, data.side, data.side, data.channels), np.uint8)}
  arrays |= {"segmentation": np.empty((0, data.side, data.side), np.uint8)} if maps else {}
  return dataset.elements_of(arrays | label_lib.arrays(labelled, []))


def _classes(labelled: label_lib.Labels, maps: Maps | None) -> dict[str, tuple[str, ...]]:
  classes = {f"label/{name}": entry.classes for name, entry in labelled.columns.items()}
  return classes | ({"segmentation": maps.parts} if maps else {})


# ------------------------------------------------------------------------------------------------ reading


def _read_all(
    store: Any, names: Sequence[str], data, in_memory: bool
) -> tuple[np.ndarray | None, dict[int, decode.BadImage], dict[int, tuple[int, int]]]:
  """All images, decoded, where they stay in memory, why some cannot be used, and of clips width and height.

  Where they do not stay in memory, only their headers are checked.
  """
  images = np.zeros((len(names), data.side, data.side, data.channels), np.uint8) if in_memory else None
  bad: dict[int, decode.BadImage] = {}
  sizes: dict[int, tuple[int, int]] = {}
  read = _reader(store, data)

  def work(i: int) -> None:
    try:
      if in_memory:
        images[i] = read(names[i])
      if data.frames or not in_memory:
        sizes[i] = _check(store, names[i], tuple(data.crop))
    except decode.BadImage as error:
      bad[i] = error

  dataset.for_each(len(names), work, "reading images" if in_memory else "checking images")
  return images, bad, sizes


def _raise_nothing(where: str, bad: Mapping[int, decode.BadImage], skipped: list[tuple[str, str]]) -> None:
  first, reason = skipped[0]
  unusable = f"none of the {len(bad)} images"
  if isinstance(bad[min(bad)], decode.CropOutside):
    raise UserError(f"data.crop: {reason} in {first}, and {unusable} can hold it; '()' is the centre square")
  raise UserError(f"{unusable} of data.path={where} can be used; the first, {first}: {reason}")


def _reader(store: Any, data) -> Callable[[str], np.ndarray]:
  """`name -> pixels [S, S, C]`; it can be sent to another process. Raises BadImage."""
  return functools.partial(_read, store, side=data.side, crop=tuple(data.crop), channels=data.channels)


def _read(store: Any, name: str, *, side: int, crop: tuple[int, ...], channels: int) -> np.ndarray:
  return transforms.picture(stores.read(store, name), side, crop, channels)


def _check(store: Any, name: str, crop: tuple[int, ...]) -> tuple[int, int]:
  """Width and height. Raises BadImage."""
  if isinstance(store, stores.Zip):
    # Pillow seeks about in a header; a compressed zip entry seeks slowly, so it is taken whole.
    return decode.check_header(io.BytesIO(stores.read(store, name)), crop)
  try:
    file = store.open(name)
  except OSError as error:
    raise decode.BadImage(f"cannot be read ({error})") from error
  with file:
    return decode.check_header(file, crop)


class _LazySplit:
  """`Split.load` that decodes as images are read, for large sets.

  A file that fails is counted once and replaced by the next one of the split, with the labels of that one, so
  that batches keep their size and the same run reads the same images. Of clips, the next whole clip takes the
  place of the one that the file is in.
  """

  def __init__(self, store, names: Sequence[str], columns: dict[str, np.ndarray], data, skipped: list):
    self._where, self._read, self._names = store.where, _reader(store, data), names
    self._columns, self._skipped = columns, skipped
    self._length = data.frames or 1  # images of a clip
    self._bad: dict[int, str] = {}  # by clip
    self._kept = dataset.Kept(len(names) // self._length, (self._length, data.side, data.side, data.channels))

  def row(self, index: int) -> int:
    """The image that stands at `index`: of the first clip from there on that has not failed.

    Raises UserError.
    """
    count = len(self._names) // self._length
    first, frame = divmod(index, self._length)
    for clip in range(first, first + count):
      if clip % count not in self._bad:
        return clip % count * self._length + frame
    raise UserError(f"not one image of {self._where} can be used; see the reasons above")

  def _clip(self, index: int) -> np.ndarray:
    while True:
      start, images = self.row(index * self._length), []
      try:
        for name in self._names[start : start + self._length]:
          images.append(self._read(name))
        return np.stack(images)
      except decode.BadImage as error:
        reason = str(error)
        # Two threads may meet it at once: the first names it.
        if self._bad.setdefault(start // self._length, reason) is reason:
          shown, what = stores.printable(name), "image" if self._length == 1 else "clip"
          logging.warning("%s: %s; the next %s takes its place", shown, reason, what)
          self._skipped.append((shown, reason))

  def __call__(self, indices: np.ndarray, keys: Collection[str]) -> dict[str, np.ndarray]:
    arrays = {}
    if "image" in keys:
      places = [divmod(int(i), self._length) for i in indices]
      clips = {clip: self._kept.get(clip, self._clip) for clip in dict.fromkeys(clip for clip, _ in places)}
      arrays["image"] = np.stack([clips[clip][frame] for clip, frame in places])
    rows = [self.row(int(i)) for i in indices]  # now that those which fail are known
    return arrays | {name: values[rows] for name, values in self._columns.items() if name in keys}


class _WithMaps:
  """`Split.load` of another split, with maps that are read for each image where they are asked for."""

  def __init__(self, load: Callable, names: Sequence[str], maps: Maps):
    self._load, self._names, self._maps = load, names, maps

  def __call__(self, indices: np.ndarray, keys: Collection[str]) -> dict[str, np.ndarray]:
    arrays = self._load(indices, keys)
    if "segmentation" not in keys:
      return arrays
    row = self._load.row if isinstance(self._load, _LazySplit) else int
    maps = [self._maps.read(self._names[row(int(i))]) for i in indices]
    return arrays | {"segmentation": np.stack(maps)}
