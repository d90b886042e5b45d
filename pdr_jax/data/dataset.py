"""What every data source hands to the pipeline: splits with random access, and a description; and the memory cache behind them."""

import os
import types
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import Progress

CACHE_LIMIT = 4 * 2**30  # bytes of decoded images kept in memory; larger sets are decoded each time they are read
EAGER_LIMIT = 30_000     # images decoded before training starts (about half a minute on two cores); of larger sets, each when first read
LAZY_NOTE = "images are decoded as they are read"


class Split(NamedTuple):
  """One split. `load(indices [n] ints, image_only)` gives a dict of arrays [n, ...]: `image` as uint8 [n, S, S, 3], and, unless image_only,
  truth and `label/...` as the Batch contract has them (CONVENTIONS.md). `in_memory` says that loading costs no decoding.
  """
  size: int
  load: Callable[[np.ndarray, bool], dict[str, np.ndarray]]
  in_memory: bool


class Dataset(NamedTuple):
  """A data set: its splits; whether truth (depth, normal, ...) comes with it; label names -> class names (or () for numbers);
  files left out as (name, reason), which grows while a set too large for memory is read; a note for the user; and the splits by name that
  training never reads, where there are some: `test`, and beyond the training range `test_light` and `test_view`."""
  name: str
  train: Split
  validation: Split
  has_truth: bool
  classes: dict[str, tuple[str, ...]]
  skipped: list[tuple[str, str]]
  note: str = ""
  tests: Mapping[str, Split] = types.MappingProxyType({})


class Kept:
  """Remembers decoded images [N, S, S, 3] uint8 once they were read, where the set fits in memory."""

  def __init__(self, count: int, side: int):
    self._keep = fits_in_memory(count * side * side * 3)
    # Empty pages cost nothing until they are written to.
    self._images = np.empty((count if self._keep else 0, side, side, 3), np.uint8)
    self._known = np.zeros(count, bool)

  def __getstate__(self):  # Grain's worker processes each see a part of every epoch: keeping it in all of them is too much
    return {"_keep": False, "_images": None, "_known": np.zeros_like(self._known)}

  def get(self, index: int, read: Callable[[int], np.ndarray]) -> np.ndarray:
    """The image at `index`, by `read(index)` unless it is known. Safe in threads: at worst two read the same image."""
    if self._known[index]:
      return self._images[index]
    image = read(index)
    if self._keep:
      self._images[index] = image
      self._known[index] = True
    return image


class MemorySplit:
  """`Split.load` over decoded arrays [N, ...] in memory."""

  def __init__(self, arrays: dict[str, np.ndarray]):
    self.arrays = arrays

  def __call__(self, indices: np.ndarray, image_only: bool) -> dict[str, np.ndarray]:
    return {key: array[indices] for key, array in self.arrays.items() if key == "image" or not image_only}


def memory_split(arrays: dict[str, np.ndarray]) -> Split:
  """A Split of arrays [N, ...] that are already decoded; `image` is uint8."""
  return Split(len(arrays["image"]), MemorySplit(arrays), in_memory=True)


def fits_in_memory(bytes_needed: int) -> bool:
  """True where that many bytes of decoded images may be kept: at most CACHE_LIMIT and a third of what the machine has free."""
  try:
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  except (ValueError, OSError, AttributeError):  # macOS and Windows do not tell
    free = 3 * CACHE_LIMIT
  return bytes_needed <= min(CACHE_LIMIT, free // 3)


def decode_first(count: int, side: int) -> bool:
  """True where all images are decoded before training starts, into one array."""
  return count <= EAGER_LIMIT and fits_in_memory(count * side * side * 3)


def for_each(count: int, work: Callable[[int], None], title: str, threads: int | None = None) -> None:
  """Runs `work(i)` for i in 0 .. count-1 in a thread pool, with a progress bar on stderr. The first exception is raised."""
  threads = threads or min(16, os.cpu_count() or 1)
  chunk = max(1, min(64, count // (threads * 4) or 1))

  def several(start: int) -> int:
    stop = min(start + chunk, count)
    for i in range(start, stop):
      work(i)
    return stop - start

  console = Console(stderr=True)
  with Progress(console=console, transient=True, disable=not console.is_terminal) as bar, futures.ThreadPoolExecutor(threads) as pool:
    task = bar.add_task(title, total=count)
    jobs = [pool.submit(several, start) for start in range(0, count, chunk)]
    try:
      for job in futures.as_completed(jobs):
        bar.advance(task, job.result())
    finally:
      for job in jobs:  # after an error or Ctrl-C: do not finish the rest first
        job.cancel()
