"""The input pipeline: batches for training (shuffled, resumable, sharded by process) and for validation (fixed, padded).

Each epoch's images are shuffled by the seed and cut into global batches; process p takes the p-th part of each. So batch k holds the same
images however many processes there are, and the position of a run is one number. Grain reads ahead, in threads or worker processes.
"""

import collections
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import grain
import numpy as np
from absl import flags, logging

from pdr_jax.data import dataset
from pdr_jax.errors import UserError

Batch = dict[str, np.ndarray]

_ORDER, _FLIP = 0, 1  # names of the random streams
_ENDLESS = 2**48      # batches


class DatasetInfo(NamedTuple):
  """What the data is, for the log: sizes of the splits, whether truth is there, labels (class names, () for numbers), files left out."""
  name: str
  train_size: int
  validation_size: int
  has_truth: bool
  classes: dict[str, tuple[str, ...]]
  skipped: tuple[tuple[str, str], ...]
  in_memory: bool
  note: str
  tests: tuple[tuple[str, int], ...] = ()  # (split, size) of those that training never reads

  def summary(self) -> str:
    """One line, and one more where files were skipped."""
    names = [key.removeprefix("label/") for key in self.classes if key.startswith("label/")]  # not the parts of `segmentation`
    labels = f", labels: {', '.join(names)}" if names else ""
    if len(names) > 6:
      labels = f", {len(names)} labels"
    line = f"{self.name}: {self.train_size:,} training and {self.validation_size:,} validation images"
    line += "".join(f", {name} {size:,}" for name, size in self.tests)
    line += f"{', with true depth' if self.has_truth else ''}{labels}{'; ' + self.note if self.note else ''}"
    if self.skipped:
      shown = "; ".join(f"{name}: {reason}" for name, reason in self.skipped[:5]) + ("; ..." if len(self.skipped) > 5 else "")
      line += f"\n{len(self.skipped):,} files skipped: {shown}"
    return line


@functools.lru_cache(maxsize=2)
def _open(key: str, config) -> dataset.Dataset:
  """`key` is what the data depends on; the config itself hashes by identity and is wrapped below."""
  del key
  from pdr_jax.data import folder_sets
  name = config.value.data.name
  if name not in ("image_folder", *folder_sets.LAYOUTS) and config.value.data.split_by != "seed":
    raise UserError(f"data.split_by={config.value.data.split_by}: only image_folder and published folders can be split by a label; "
                    f"{name} needs seed")
  if name in ("heads", "ict_faces", "people", "embedded_cars", "car_meshes"):
    from pdr_jax.data import scene_source
    return scene_source.open_scenes(config.value)
  if name == "image_folder":
    from pdr_jax.data import image_folder
    return image_folder.open_image_folder(config.value)
  if name in folder_sets.LAYOUTS:
    return folder_sets.open_folder_set(config.value)
  from pdr_jax.data import tfds_source
  return tfds_source.open_tfds(config.value)


class _AnyConfig(NamedTuple):
  """Carries a config past the cache: all are equal, so the key alone decides."""
  value: Any

  def __hash__(self) -> int:
    return 0

  def __eq__(self, other) -> bool:
    return isinstance(other, _AnyConfig)


def open_dataset(config) -> dataset.Dataset:
  """The data set that `config.data` names, opened (and decoded into memory) once per process. Raises UserError, see the sources."""
  keys = [key for key in sorted(config.data) if key not in ("flip", "workers")]
  return _open(repr([(key, config.data[key]) for key in keys] + [config.scene[key] for key in sorted(config.get("scene", {}))]), _AnyConfig(config))


def describe(config) -> DatasetInfo:
  """Opens the data set and tells what is in it. Raises UserError."""
  data = open_dataset(config)
  return DatasetInfo(data.name, data.train.size, data.validation.size, data.has_truth, data.classes, tuple(data.skipped),
                     data.train.in_memory, data.note, tuple((name, split.size) for name, split in data.tests.items()))


def to_float(image: np.ndarray) -> np.ndarray:
  """uint8 [..., 3] -> float32 in [-1, 1]; 0 and 255 reach the ends exactly."""
  image = image.astype(np.float32)
  image /= np.float32(127.5)
  image -= 1
  return image


def _local_size(config, process_index: int, process_count: int) -> int:
  batch_size = config.train.batch_size
  if not 0 <= process_index < process_count:
    raise ValueError(f"process_index {process_index} is not below process_count {process_count}")
  if batch_size < 1 or batch_size % process_count:
    raise UserError(f"train.batch_size={batch_size} cannot be divided among {process_count} processes")
  return batch_size // process_count


def mirror(image: np.ndarray, chosen: np.ndarray) -> np.ndarray:
  """uint8 [n, H, W, 3] with the chosen ones [n] flipped left to right."""
  image = np.array(image, order="C")
  pixels = image.view("V3")  # a pixel as one element: reversing columns is then several times faster
  pixels[chosen] = pixels[chosen][:, :, ::-1]
  return image


@functools.lru_cache(maxsize=2)  # the epoch at hand, and the next while batches are read ahead
def _permutation(size: int, seed: int, epoch: int) -> np.ndarray:
  return np.random.default_rng([seed, _ORDER, epoch]).permutation(size)


class _TrainBatch(grain.transforms.Map):
  """Number of the batch -> batch. What is in it depends on the seed, that number, and the place in the global batch only."""

  def __init__(self, config, split: dataset.Split, flip: bool, process_index: int, local: int, image_only: bool):
    self._split, self._seed, self._flip, self._image_only = split, config.seed, flip, image_only
    self._batch_size, self._part = config.train.batch_size, slice(process_index * local, (process_index + 1) * local)

  def map(self, element: int) -> Batch:
    number = int(element)
    epoch, place = divmod(number, self._split.size // self._batch_size)
    start = place * self._batch_size
    indices = _permutation(self._split.size, self._seed, epoch)[start:start + self._batch_size][self._part]
    batch = self._split.load(indices, self._image_only)
    image = batch["image"]
    if self._flip:
      image = mirror(image, (np.random.default_rng([self._seed, _FLIP, number]).random(self._batch_size) < 0.5)[self._part])
    return {**batch, "image": to_float(image)}


class TrainIterator(Iterator[Batch]):
  """Infinite batches. `get_state()` is {"batch": how many were taken, ...}: small, JSON-able, the same for any number of processes,
  workers and threads; `set_state` continues bit for bit."""

  def __init__(self, batches: grain.MapDataset, *, threads: int, workers: int, identity: dict[str, int]):
    self._batches, self._threads, self._workers, self._identity = batches, threads, workers, identity
    self._position, self._iterator = 0, None

  def _start(self) -> grain.DatasetIterator:
    rest = self._batches[self._position:] if self._position else self._batches
    options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=max(2, self._threads))
    stream = rest.to_iter_dataset(options)
    if self._workers:
      if not flags.FLAGS.is_parsed():  # Grain's worker processes read flags; outside of absl's app.run nobody has parsed any
        flags.FLAGS.mark_as_parsed()
      stream = stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=self._workers, per_worker_buffer_size=2))
    return iter(stream)

  def __next__(self) -> Batch:
    if self._iterator is None:
      self._iterator = self._start()
    batch = next(self._iterator)
    self._position += 1
    return batch

  def get_state(self) -> dict[str, int]:
    return {"batch": self._position, **self._identity}

  def set_state(self, state: dict[str, int]) -> None:
    """Goes to the position of a state. A set of another size, or another batch size, has another order: warned about, not refused."""
    for name, value in self._identity.items():
      if int(state.get(name, value)) != value:
        logging.warning("the data's %s was %s when the position was saved and is %s now: the order of images is a new one",
                        name, state[name], value)
    self.close()
    self._position = int(state["batch"])

  def close(self) -> None:
    """Stops threads and workers; the next `next()` starts them again."""
    if self._iterator is not None:
      self._iterator.close()
      self._iterator = None


def train_iterator(config, *, process_index: int = 0, process_count: int = 1, image_only: bool = True) -> TrainIterator:
  """Batches for training, without end.

  Args:
    config: `data`, `seed` and `train.batch_size` (global) are read.
    process_index, process_count: this process reads its part [batch_size / process_count] of each global batch.
    image_only: False adds truth and labels.

  Returns: an iterator of {"image": [b, S, S, 3] float32 in [-1, 1]}, each epoch shuffled anew, its incomplete last batch dropped.
  Raises UserError: see `open_dataset`; a batch larger than the training split.
  """
  local = _local_size(config, process_index, process_count)
  data, batch_size = open_dataset(config), config.train.batch_size
  if data.train.size < batch_size:
    raise UserError(f"train.batch_size={batch_size} is larger than the training split of {data.train.size} images: lower it or add images")
  # Images with truth would need their truth mirrored as well; embedded worlds are symmetric enough as they are drawn.
  flip = bool(config.data.flip) and not data.has_truth
  transform = _TrainBatch(config, data.train, flip, process_index, local, image_only)
  # One thread keeps up where images lie in memory and leaves the cores to XLA; workers would only copy the memory.
  threads = 1 if data.train.in_memory else min(8, os.cpu_count() or 1)
  workers = 0 if data.train.in_memory else config.data.workers
  return TrainIterator(grain.MapDataset.range(_ENDLESS).map(transform), threads=threads, workers=workers,
                       identity={"examples": data.train.size, "batch_size": batch_size})


class Batches:
  """A split in fixed order, as often as it is iterated over: `len()` batches, the same number in each process."""

  def __init__(self, split: dataset.Split, batch_size: int, process_index: int, local: int, image_only: bool):
    self._split, self._batch_size, self._process_index, self._local, self._image_only = split, batch_size, process_index, local, image_only

  def __len__(self) -> int:
    return -(-self._split.size // self._batch_size)

  def _load(self, number: int) -> Batch:
    start = number * self._batch_size + self._process_index * self._local
    indices = np.arange(start, start + self._local)
    mask = indices < self._split.size
    # Padding repeats a real image: zeros would be a depth of 0, and NaN times a mask of 0 is NaN.
    batch = self._split.load(np.where(mask, indices, 0), self._image_only)
    return {**batch, "image": to_float(batch["image"]), "_mask": mask.astype(np.float32)}

  def __iter__(self) -> Iterator[Batch]:
    threads = 1 if self._split.in_memory else min(8, os.cpu_count() or 1)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(2, threads))
    yield from grain.MapDataset.range(len(self)).map(self._load).to_iter_dataset(options)


def validation_batches(config, *, process_index: int = 0, process_count: int = 1, image_only: bool = False,
                       split: str = "validation") -> Batches:
  """One pass over the validation split (or `train`, or one of `Dataset.tests`), in the same order each time, with truth and labels.

  Each batch has `_mask` [b] float32: 1 for images, 0 for padding in the last one. Raises UserError, see `open_dataset`, and for a split
  that the data does not have.
  """
  local = _local_size(config, process_index, process_count)
  data = open_dataset(config)
  chosen = {"train": data.train, "validation": data.validation, **data.tests}
  if split not in chosen:
    raise UserError(f"{data.name} has no split {split}: choose one of {', '.join(chosen)}")
  return Batches(chosen[split], config.train.batch_size, process_index, local, image_only)


class Prefetch(Iterator[Any]):
  """Keeps `depth` batches in flight to the device. The position of each batch travels with it: `get_state()` belongs to the batch that
  was handed out last, not to those already read ahead, so a checkpoint neither skips nor repeats a batch."""

  def __init__(self, iterator: TrainIterator, transfer: Callable[[Batch], Any], depth: int):
    self._iterator, self._transfer, self._depth = iterator, transfer, max(1, depth)
    self._waiting: collections.deque[tuple[Any, dict]] = collections.deque()
    self._state = iterator.get_state()

  def _fill(self) -> None:
    while len(self._waiting) < self._depth:
      try:
        batch = self._transfer(next(self._iterator))
      except StopIteration:
        return
      self._waiting.append((batch, self._iterator.get_state()))

  def __next__(self) -> Any:
    self._fill()
    if not self._waiting:
      raise StopIteration
    batch, self._state = self._waiting.popleft()
    return batch

  def get_state(self) -> dict:
    return self._state

  def set_state(self, state: dict) -> None:
    self._waiting.clear()
    self._iterator.set_state(state)
    self._state = self._iterator.get_state()

  def close(self) -> None:
    self._waiting.clear()
    self._iterator.close()


def prefetch(iterator: TrainIterator, transfer: Callable[[Batch], Any], depth: int = 2) -> Prefetch:
  """Iterates with `transfer(batch)` (an asynchronous device_put) applied `depth` batches ahead; see `Prefetch`."""
  return Prefetch(iterator, transfer, depth)


def finite_prefetch(batches: Iterable[Batch], transfer: Callable[[Batch], Any], depth: int = 2) -> Iterator[Any]:
  """The same for a finite pass, which has no position to keep."""
  waiting: collections.deque = collections.deque()
  for batch in batches:
    waiting.append(transfer(batch))
    if len(waiting) >= depth:
      yield waiting.popleft()
  yield from waiting
