"""The input pipeline: batches for training and for validation.

Those for training are shuffled, resumable and sharded by process; those for validation are fixed and padded.
The examples of each epoch are shuffled by the seed and cut into global batches; process p takes the p-th part
of each. So batch k holds the same examples however many processes there are, and the position of a run is one
number. Grain reads ahead, in threads or worker processes.
"""

import collections
import functools
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

import grain
import numpy as np
from absl import flags, logging
from ml_collections import ConfigDict, FrozenConfigDict

from pdr_jax import elements as element_lib
from pdr_jax.data import dataset, normalized, registry, transforms
from pdr_jax.elements import ElementSpec
from pdr_jax.errors import UserError

Batch = dict[str, np.ndarray]

_ORDER, _FLIP, _MIX = 0, 1, 2  # names of the random streams
_ENDLESS = 2**48  # batches
_NOT_DATA = ("flip", "workers")  # keys of `data` that say how batches are made, not what the data is
# Sets of nothing else than these meanings may be flipped.
_UNMIRRORED = ("image", "clip", "segmentation", "label", "missing")


class DatasetInfo(NamedTuple):
  """What the data is, for the log.

  It holds sizes of the splits, elements, labels (class names, () for numbers), and files left out.
  """

  name: str
  train_size: int
  validation_size: int
  elements: ElementSpec
  classes: dict[str, tuple[str, ...]]
  skipped: tuple[tuple[str, str], ...]
  in_memory: bool
  note: str
  tests: tuple[tuple[str, int], ...] = ()  # (split, size) of those that training never reads
  report: tuple[str, ...] = ()  # what was read and what was not, line by line
  fingerprint: str = ""  # see `Dataset`

  def summary(self) -> str:
    """One line, and below it what was read, what was not, and which files cannot be used."""
    names = [
      key.removeprefix("label/") for key in self.classes if key.startswith("label/")
    ]  # not parts of a map
    labels = f", labels: {', '.join(names)}" if names else ""
    if len(names) > 6:
      labels = f", {len(names)} labels"
    what = f"clips of {self.elements['clip'].shape[0]} frames" if "clip" in self.elements else "images"
    line = f"{self.name}: {self.train_size:,} training and {self.validation_size:,} validation {what}"
    line += "".join(f", {name} {size:,}" for name, size in self.tests)
    line += ", with true depth" if "depth" in self.elements else ""
    line += f"{labels}{'; ' + self.note if self.note else ''}"
    line += "".join(f"\n  {told}" for told in self.report)
    if self.skipped:
      shown = "; ".join(f"{name}: {reason}" for name, reason in self.skipped[:5])
      line += f"\n{len(self.skipped):,} files skipped: {shown}{'; ...' if len(self.skipped) > 5 else ''}"
    return line


@functools.lru_cache(maxsize=2)
def _open(data: FrozenConfigDict) -> dataset.Dataset:
  if data.get("normalize_with"):
    plain = FrozenConfigDict({**data, "normalize_with": ""})
    return normalized.replaced(ConfigDict(data), _open(plain))
  return registry.check(data).open(ConfigDict({"data": data}))


def open_dataset(config: ConfigDict) -> dataset.Dataset:
  """The data set that `config.data` names, opened (and decoded into memory) once per process.

  Raises UserError, see `registry.check`, the sources and `normalized.replaced`.
  """
  return _open(FrozenConfigDict({key: value for key, value in config.data.items() if key not in _NOT_DATA}))


def describe(config: ConfigDict) -> DatasetInfo:
  """Opens the data set and tells what is in it. Raises UserError."""
  data = open_dataset(config)
  return DatasetInfo(
    name=data.name,
    train_size=data.train.size,
    validation_size=data.validation.size,
    elements=data.elements,
    classes=data.classes,
    skipped=tuple(data.skipped),
    in_memory=data.train.in_memory,
    note=data.note,
    report=data.report,
    tests=tuple((name, split.size) for name, split in data.tests.items()),
    fingerprint=data.fingerprint,
  )


def published(config: ConfigDict, reads: ElementSpec | None = None) -> ElementSpec:
  """The elements of the data as batches have them, with pictures in the range that `reads` asks for.

  Raises UserError where the data has not what is read, or has it in another shape. `missing/NAME` may be read
  of any label: it is there where an example lacks it.
  """
  data, reads = open_dataset(config), reads or {}
  needed = {
    key: element for key, element in reads.items() if element.meaning != "missing" or key in data.elements
  }
  element_lib.check(data.elements, needed, f"the data set {data.name}")
  pictures = [key for key, element in data.elements.items() if element.meaning in dataset.PICTURES]
  bounds = {key: reads[key].range for key in pictures if key in reads and reads[key].range}
  default = next(iter(bounds.values()), transforms.RANGE)
  return {
    key: element._replace(range=bounds.get(key, default)) if key in pictures else element
    for key, element in data.elements.items()
  }


def _local_size(config: ConfigDict, process_index: int, process_count: int) -> int:
  batch_size = config.train.batch_size
  if not 0 <= process_index < process_count:
    raise ValueError(f"process_index {process_index} is not below process_count {process_count}")
  if batch_size < 1 or batch_size % process_count:
    raise UserError(f"train.batch_size={batch_size} cannot be divided among {process_count} processes")
  return batch_size // process_count


@functools.lru_cache(maxsize=2)  # the epoch at hand, and the next while batches are read ahead
def _permutation(size: int, seed: int, epoch: int) -> np.ndarray:
  return np.random.default_rng([seed, _ORDER, epoch]).permutation(size)


def _mixed(shares: tuple[tuple[int, int], ...], batch_size: int, seed: int, number: int) -> np.ndarray:
  """The indices of batch `number` of a mix: every set's share of it, each set in epochs of its own."""
  parts = sum(part for _, part in shares)
  chosen, first = [], 0
  for place, (size, part) in enumerate(shares):
    count = batch_size * part // parts
    positions = number * count + np.arange(count)
    for epoch in np.unique(positions // size):
      order = _permutation(size, seed + place, int(epoch))
      chosen.append(first + order[positions[positions // size == epoch] % size])
    first += size
  # Shuffled, so that processes and devices see the same mix.
  return np.random.default_rng([seed, _MIX, number]).permutation(np.concatenate(chosen))


class _TrainBatch(grain.transforms.Map):
  """Number of the batch -> batch.

  What is in it depends on the seed, that number and the place in the global batch.
  """

  def __init__(self, config: ConfigDict, split: dataset.Split, spec: ElementSpec, flip: bool, part: slice):
    self._split, self._spec, self._flip, self._part = split, dict(spec), flip, part
    self._seed, self._batch_size = config.seed, config.train.batch_size

  def map(self, element: int) -> Batch:
    number = int(element)
    batch = self._split.load(self._indices(number)[self._part], self._spec.keys())
    if self._flip:
      chosen = np.random.default_rng([self._seed, _FLIP, number]).random(self._batch_size) < 0.5
      pictures = [key for key, element in self._spec.items() if element.meaning in dataset.PICTURES]
      batch |= {key: transforms.mirror(batch[key], chosen[self._part]) for key in pictures}
    return transforms.to_spec(batch, self._spec)

  def _indices(self, number: int) -> np.ndarray:
    """Of the global batch."""
    split, size = self._split, self._batch_size
    if split.shares:
      return _mixed(split.shares, size, self._seed, number)
    epoch, place = divmod(number, split.size // size)
    return _permutation(split.size, self._seed, epoch)[place * size : (place + 1) * size]


class TrainIterator(Iterator[Batch]):
  """Infinite batches.

  `get_state()` is {"batch": how many were taken, ...}: small, JSON-able, the same for any number of
  processes, workers and threads; `set_state` continues bit for bit.
  """

  def __init__(self, batches: grain.MapDataset, *, threads: int, workers: int, identity: dict[str, int]):
    self._batches, self._threads, self._workers, self._identity = batches, threads, workers, identity
    self._position, self._iterator = 0, None

  def _start(self) -> grain.DatasetIterator:
    rest = self._batches[self._position :] if self._position else self._batches
    options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=max(2, self._threads))
    stream = rest.to_iter_dataset(options)
    if self._workers:
      if (
        not flags.FLAGS.is_parsed()
      ):  # Grain's worker processes read flags; outside of absl's app.run nobody has parsed any
        flags.FLAGS.mark_as_parsed()
      stream = stream.mp_prefetch(
        grain.MultiprocessingOptions(num_workers=self._workers, per_worker_buffer_size=2)
      )
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
    """Goes to the position of a state.

    A set of another size, or another batch size, has another order: a warning says so.
    """
    for name, value in self._identity.items():
      if int(state.get(name, value)) != value:
        logging.warning(
          "the data's %s was %s when the position was saved and is %s now: the order of images is a new one",
          name,
          state[name],
          value,
        )
    self.close()
    self._position = int(state["batch"])

  def close(self) -> None:
    """Stops threads and workers; the next `next()` starts them again."""
    if self._iterator is not None:
      self._iterator.close()
      self._iterator = None


def train_iterator(
  config: ConfigDict, reads: ElementSpec, *, process_index: int = 0, process_count: int = 1
) -> TrainIterator:
  """Batches for training, without end: each epoch shuffled anew, its incomplete last batch dropped.

  Args:
    config: `data`, `seed` and `train.batch_size` (global) are read.
    reads: the keys of a batch, with their shapes, and the range of the pictures.
    process_index, process_count: this process reads its part [batch_size / process_count] of each global
      batch.

  Returns an iterator of `{key: array}`. Raises UserError: see `open_dataset` and `published`; a batch larger
  than the training split.
  """
  local = _local_size(config, process_index, process_count)
  data, spec, batch_size = open_dataset(config), published(config, reads), config.train.batch_size
  if data.train.size < batch_size:
    raise UserError(
      f"train.batch_size={batch_size} is larger than the training split of {data.train.size} images: lower "
      "it or add images"
    )
  parts = sum(part for _, part in data.train.shares)
  if parts and batch_size % parts:
    raise UserError(f"train.batch_size={batch_size}: {data.name} mixes in shares of {parts}, so a multiple")
  part = slice(process_index * local, (process_index + 1) * local)
  transform = _TrainBatch(
    config, data.train, {key: spec[key] for key in reads if key in spec}, _flips(config, data, reads), part
  )
  # One thread keeps up where images lie in memory, and leaves the cores to XLA; workers would only copy them.
  threads = 1 if data.train.in_memory else min(8, os.cpu_count() or 1)
  workers = 0 if data.train.in_memory else config.data.workers
  identity = {"examples": data.train.size, "batch_size": batch_size}
  return TrainIterator(
    grain.MapDataset.range(_ENDLESS).map(transform), threads=threads, workers=workers, identity=identity
  )


def _flips(config: ConfigDict, data: dataset.Dataset, keys: Collection[str]) -> bool:
  """Are training pictures flipped at random?

  Not where the data has exact truth, which would have to be mirrored as well (embedded worlds are symmetric
  enough as they are drawn), and not together with a map of parts, whose left and right would change places.
  """
  meanings = {element.meaning for element in data.elements.values()}
  return bool(config.data.flip) and meanings <= set(_UNMIRRORED) and "segmentation" not in keys


class Batches:
  """A split in fixed order, as often as it is iterated over.

  It has `len()` batches, the same number in each process.
  """

  def __init__(self, split: dataset.Split, spec: ElementSpec, batch_size: int, part: slice):
    self._split, self._spec, self._batch_size, self._part = split, spec, batch_size, part

  def __len__(self) -> int:
    return -(-self._split.size // self._batch_size)

  def _load(self, number: int) -> Batch:
    indices = number * self._batch_size + np.arange(self._part.start, self._part.stop)
    mask = indices < self._split.size
    # Padding repeats a real image: zeros would be a depth of 0, and NaN times a mask of 0 is NaN.
    batch = self._split.load(np.where(mask, indices, 0), self._spec.keys())
    return transforms.to_spec(batch, self._spec) | {"_mask": mask.astype(np.float32)}

  def __iter__(self) -> Iterator[Batch]:
    threads = 1 if self._split.in_memory else min(8, os.cpu_count() or 1)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(2, threads))
    yield from grain.MapDataset.range(len(self)).map(self._load).to_iter_dataset(options)


def validation_batches(
  config: ConfigDict,
  *,
  reads: ElementSpec | None = None,
  keys: Collection[str] | None = None,
  split: str = "validation",
  process_index: int = 0,
  process_count: int = 1,
) -> Batches:
  """One pass over a split, in the same order each time.

  Args:
    config: `data`, `seed` and `train.batch_size` (global) are read.
    reads: what the method reads: checked against the data; gives the range of the pictures.
    keys: the keys of a batch; None: all that the data has, truth and labels too.
    split: `validation`, `train`, or one of `Dataset.tests`.
    process_index, process_count: this process reads its part of each global batch.

  Each batch has `_mask` [b] float32: 1 for examples, 0 for padding in the last one. Raises UserError: see
  `open_dataset` and `published`; a split or a key that the data does not have.
  """
  local = _local_size(config, process_index, process_count)
  data, spec = open_dataset(config), published(config, reads)
  chosen = {"train": data.train, "validation": data.validation, **data.tests}
  if split not in chosen:
    raise UserError(f"{data.name} has no split {split}: choose one of {', '.join(chosen)}")
  if missing := [key for key in keys or () if key not in spec]:
    raise UserError(f"the data set {data.name} has no {missing[0]!r}: it has {', '.join(spec)}")
  spec = {key: element for key, element in spec.items() if keys is None or key in keys}
  part = slice(process_index * local, (process_index + 1) * local)
  return Batches(chosen[split], spec, config.train.batch_size, part)


class Prefetch(Iterator[Any]):
  """Keeps `depth` batches in flight to the device.

  The position of each batch travels with it: `get_state()` belongs to the batch that was handed out last, not
    to those already read ahead, so a checkpoint neither skips nor repeats a batch.
  """

  def __init__(self, iterator: Any, transfer: Callable[[Batch], Any], depth: int):
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


def prefetch(iterator: Any, transfer: Callable[[Batch], Any], depth: int = 2) -> Prefetch:
  """Iterates with `transfer(batch)` applied `depth` batches ahead; see `Prefetch`.

  `transfer` is an asynchronous device_put.
  """
  return Prefetch(iterator, transfer, depth)


def finite_prefetch(
  batches: Iterable[Any], transfer: Callable[[Any], Any], depth: int = 2
) -> Iterator[Any]:
  """The same for a finite pass, which has no position to keep."""
  waiting: collections.deque = collections.deque()
  for batch in batches:
    waiting.append(transfer(batch))
    if len(waiting) >= depth:
      yield waiting.popleft()
  yield from waiting
