"""Any folder or zip of images as a data set: labels, splits, and files that cannot be used left out by name, never a crash."""

import io
import os
import threading
import zipfile
from collections.abc import Callable, Collection, Sequence
from typing import BinaryIO

import numpy as np
from absl import logging

from pdr_jax.data import dataset, decode, labels, splits, transforms
from pdr_jax.errors import UserError

_LARGEST_FILE = 512 * 2**20  # bytes of one file, unpacked


class _Folder:
  """Images of a directory tree, by their path inside it (forward slashes). Nothing outside of the tree is named."""

  def __init__(self, root: str):
    self.where, self._root, self.names, self.files = root, root, [], 0
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
      real = os.path.realpath(folder)
      folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
      if real in seen:  # a link back up: each folder counts once
        continue
      seen.add(real)
      for name in files:
        self.files += 1
        if name.lower().endswith(decode.SUFFIXES) and not name.startswith("."):
          self.names.append(os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/"))
    self.names.sort()

  def open(self, name: str) -> BinaryIO:
    return open(os.path.join(self._root, name), "rb")

  def labels_file(self) -> tuple[bytes, str] | None:
    return _read_if_there(os.path.join(self._root, "labels.csv"))


class _Zip:
  """Images of a zip, read in place: nothing is unpacked, so an entry's name can lead nowhere."""

  def __init__(self, path: str):
    self.where, self._path, self._zip, self._lock = path, path, None, threading.Lock()
    try:
      with zipfile.ZipFile(path) as file:
        entries = [entry for entry in file.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
      raise UserError(f"data.path={path} is not a readable zip ({error}): copy it again, or name a folder of images") from error
    self.files = len(entries)
    self.names = sorted({entry.filename for entry in entries if _is_image(entry.filename)})

  def __getstate__(self):  # for Grain's worker processes: each opens the file for itself
    return {**self.__dict__, "_zip": None, "_lock": None}

  def __setstate__(self, state):
    self.__dict__.update(state, _lock=threading.Lock())

  def open(self, name: str) -> BinaryIO:
    with self._lock:
      if self._zip is None:
        self._zip = zipfile.ZipFile(self._path)
    if self._zip.getinfo(name).file_size > _LARGEST_FILE:
      raise decode.BadImage(f"larger than {_LARGEST_FILE // 2**20} MiB")
    return self._zip.open(name)

  def labels_file(self) -> tuple[bytes, str] | None:
    try:
      with self.open("labels.csv") as file:
        return file.read(), f"{self._path}/labels.csv"
    except KeyError:
      return _read_if_there(os.path.join(os.path.dirname(self._path), "labels.csv"))


def _is_image(name: str) -> bool:
  """By suffix; what macOS adds to a zip is not the user's."""
  hidden = (part.startswith((".", "__MACOSX")) and part not in (".", "..") for part in name.split("/"))
  return name.lower().endswith(decode.SUFFIXES) and not any(hidden)


def _read_if_there(path: str) -> tuple[bytes, str] | None:
  if not os.path.isfile(path):
    return None
  with open(path, "rb") as file:
    return file.read(), path


def open_store(path: str) -> _Folder | _Zip:
  """The images of a folder, a zip, or a folder that holds images.zip. Raises UserError."""
  if not path:
    raise UserError("data.path is empty: image_folder needs a folder or a .zip of images, --config.data.path=...")
  path = os.path.expanduser(path)
  if not os.path.exists(path):
    raise UserError(f"data.path={path} does not exist")
  if os.path.isfile(path):
    store = _Zip(path)
  else:
    inside = os.path.join(path, "images.zip")
    try:
      store = _Folder(path)
    except OSError as error:
      raise UserError(f"data.path={path} cannot be read ({error.strerror})") from error
    if not store.names and os.path.isfile(inside):
      store = _Zip(inside)
  if not store.names:
    raise UserError(f"data.path={path} holds no image among its {store.files} files (images end in {' '.join(decode.SUFFIXES)})")
  return store


def _printable(name: str) -> str:
  """File names may hold bytes that are no text."""
  return name.encode("utf-8", "backslashreplace").decode()


class _LazySplit:
  """`Split.load` that decodes as images are read, for large sets. A file that fails is counted once and replaced by the next one of the
  split, so that batches keep their size and the same run reads the same images."""

  def __init__(self, store, names: Sequence[str], columns: dict[str, np.ndarray], data, skipped: list):
    self._store, self._names, self._columns = store, names, columns
    self._side, self._crop, self._channels = data.side, decode.check_crop(data.crop), data.channels
    self._bad: dict[int, str] = {}
    self._skipped = skipped
    self._kept = dataset.Kept(len(names), (data.side, data.side, data.channels))

  def _image(self, index: int) -> np.ndarray:
    for step in range(len(self._names)):
      i = (index + step) % len(self._names)
      if i in self._bad:
        continue
      try:
        return _read(self._store, self._names[i], self._side, self._crop, self._channels)
      except decode.BadImage as error:
        reason = str(error)
        if self._bad.setdefault(i, reason) is reason:  # two reading threads may meet it at once: the first one names it
          logging.warning("%s: %s; the next image takes its place", _printable(self._names[i]), reason)
          self._skipped.append((_printable(self._names[i]), reason))
    raise UserError(f"not one image of {self._store.where} can be used; see the reasons above")

  def __call__(self, indices: np.ndarray, keys: Collection[str]) -> dict[str, np.ndarray]:
    images = {"image": np.stack([self._kept.get(int(i), self._image) for i in indices])} if "image" in keys else {}
    return images | {name: values[indices] for name, values in self._columns.items() if name in keys}


class _WithMaps:
  """`Split.load` of another split, with maps that are read for each image where they are asked for."""

  def __init__(self, load: Callable, names: Sequence[str], maps: dict[str, Callable[[str], np.ndarray]]):
    self._load, self._names, self._maps = load, names, maps

  def __call__(self, indices: np.ndarray, keys: Collection[str]) -> dict[str, np.ndarray]:
    wanted = {key: read for key, read in self._maps.items() if key in keys}
    return self._load(indices, keys) | {key: np.stack([read(self._names[int(i)]) for i in indices]) for key, read in wanted.items()}


def _read(store, name: str, side: int, crop: tuple[int, ...], channels: int) -> np.ndarray:
  try:
    with store.open(name) as file:
      data = file.read(_LARGEST_FILE + 1)
  except decode.BadImage:
    raise
  except Exception as error:  # permissions, a damaged or encrypted zip entry, a file that is gone, a compression that Python lacks
    raise decode.BadImage(f"cannot be read ({error})") from error
  return transforms.picture(data, side, crop, channels)


def _check(store, name: str, crop: tuple[int, ...]) -> None:
  try:
    with store.open(name) as file:
      # Pillow seeks about in a header; a compressed zip entry seeks slowly, so its start is taken whole.
      decode.check_header(file if isinstance(store, _Folder) else io.BytesIO(file.read(_LARGEST_FILE)), crop)
  except decode.BadImage:
    raise
  except Exception as error:
    raise decode.BadImage(f"cannot be read ({error})") from error


def choose(config, names: Sequence[str], found: labels.Labels) -> tuple[list[int], list[int], list[int]]:
  """(train, validation, test) as indices into `names`; test is empty but for a column that names it."""
  data = config.data
  if data.split_by == "seed":
    return *splits.by_seed(names, data.scene_seed, data.train_examples, data.val_examples), []
  if data.split_by not in found.columns:
    known = ", ".join(found.columns) or "there are no labels"
    raise UserError(f"data.split_by={data.split_by} is no column of the labels; use seed, or one of: {known}")
  values = found.columns[data.split_by].tolist()
  if data.split_by in found.classes:
    values = [found.classes[data.split_by][i] if i >= 0 else "" for i in values]
  chosen = splits.by_value(names, values, data.split_by, data.scene_seed, data.train_examples, data.val_examples)
  return *chosen, splits.test_of(names, values, data.scene_seed)


def open_image_folder(config) -> dataset.Dataset:
  """The images under `config.data.path` (a folder, a .zip, or a folder that holds images.zip), as a Dataset without truth.

  Labels come from labels.csv (beside or in the zip, in the folder), or else from one folder per class; each is `label/<column>`. The
  split depends on names and `data.scene_seed` only, so runs with different training seeds validate on the same images. Decoded
  images stay in memory where they fit (`dataset.fits_in_memory`); of large sets, headers are checked now and files decoded when first read.

  Raises UserError: path missing or not a zip, no image, no usable image, a crop that fits none, unknown split column, empty split.
  """
  store = open_store(config.data.path)
  table = store.labels_file()
  found = labels.read_csv(*table, store.names) if table else labels.from_folders(store.names)
  return assemble(config, store, found, choose(config, store.names, found))


def assemble(config, store, found: labels.Labels, chosen: tuple[list[int], list[int], list[int]],
             maps: dict[str, Callable[[str], np.ndarray]] | None = None, parts: tuple[str, ...] = ()) -> dataset.Dataset:
  """A Dataset of the images of a store.

  Args:
    config: `data.side`, `data.channels`, `data.frames` and `data.crop` are read.
    store: has `names`, `open(name)` and `where`.
    found: labels of all names.
    chosen: indices of the images in train, validation and test (may be empty); each a multiple of `data.frames`, where
      that is not 0: so many images in a row are then one clip, and none of it is left where one of them cannot be read.
    maps: the map of classes of an image, `{"segmentation": name -> [side, side] uint8}`, and in `parts` the names of the classes.

  Raises UserError as `open_image_folder`.
  """
  crop, side, names = decode.check_crop(config.data.crop), config.data.side, store.names
  order = [i for part in chosen for i in part]
  shape = (side, side, config.data.channels)
  in_memory = dataset.decode_first(len(order), shape)
  images = np.zeros((len(order), *shape), np.uint8) if in_memory else None
  reasons: dict[int, decode.BadImage] = {}

  def work(i: int) -> None:
    try:
      if in_memory:
        images[i] = _read(store, names[order[i]], side, crop, config.data.channels)
      else:
        _check(store, names[order[i]], crop)
    except decode.BadImage as error:
      reasons[i] = error

  dataset.for_each(len(order), work, "reading images" if in_memory else "checking images")
  skipped = [(_printable(names[order[i]]), str(reasons[i])) for i in sorted(reasons)]
  if len(reasons) == len(order):
    first, reason = skipped[0]
    if isinstance(reasons[min(reasons)], decode.CropOutside):
      raise UserError(f"data.crop: {reason} in {first}, and none of the {len(order)} images can hold it")
    raise UserError(f"none of the {len(order)} images of data.path={store.where} can be used; the first, {first}: {reason}")
  if skipped:
    listed = "; ".join(f"{name}: {reason}" for name, reason in skipped[:5]) + ("; ..." if len(skipped) > 5 else "")
    logging.warning("%d of %d images skipped: %s", len(skipped), len(order), listed)

  def make(start: int, stop: int, split: str) -> dataset.Split:
    length = config.data.frames or 1  # of a clip
    lost = {(i - start) // length for i in reasons}
    rows = [i for i in range(start, stop) if (i - start) // length not in lost]
    if not rows:
      raise UserError(f"data.path={store.where}: no image is left for {split} out of {len(order)}; add images, or change data.split_by")
    columns = {f"label/{name}": values[[order[i] for i in rows]] for name, values in found.columns.items()}
    if in_memory:
      # The rows of a split are nearly always contiguous: then this is a view, not a second copy of the set.
      kept = images[rows[0]:rows[-1] + 1] if len(rows) == rows[-1] + 1 - rows[0] else images[rows]
      made = dataset.memory_split({"image": kept, **columns})
    else:
      made = dataset.Split(len(rows), _LazySplit(store, [names[order[i]] for i in rows], columns, config.data, skipped), in_memory=False)
    return made._replace(load=_WithMaps(made.load, [names[order[i]] for i in rows], maps)) if maps else made

  first, second = len(chosen[0]), len(chosen[0]) + len(chosen[1])
  classes = {f"label/{name}": found.classes.get(name, ()) for name in found.columns} | ({"segmentation": parts} if maps else {})
  empty = {"image": np.empty((0, *shape), np.uint8)} | {key: np.empty((0, side, side), np.uint8) for key in maps or {}}
  return dataset.Dataset(
      name=f"{config.data.name} {store.where}", train=make(0, first, "training"), validation=make(first, second, "validation"),
      elements=dataset.elements_of(empty | {f"label/{name}": values for name, values in found.columns.items()}),
      classes=classes, skipped=skipped, note="" if in_memory else dataset.LAZY_NOTE,
      tests={"test": make(second, len(order), "test")} if chosen[2] else {})
