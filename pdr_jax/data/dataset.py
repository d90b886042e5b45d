"""What a data source hands to the pipeline: splits with random access and a description; the memory cache."""

import os
import types
from collections.abc import Callable, Collection, Mapping
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped, UInt8
from rich.console import Console
from rich.progress import Progress

from pdr_jax.elements import Element, ElementSpec
from pdr_jax.errors import UserError
from pdr_jax.rules import Rule

CACHE_LIMIT = 4 * 2**30  # bytes of decoded images in memory; larger sets are decoded each time they are read
EAGER_LIMIT = 30_000  # images decoded before training starts (half a minute); those of larger sets, when read
LAZY_NOTE = "images are decoded as they are read"
PICTURES = ("image", "clip", "albedo")  # meanings of what is stored as uint8 and given as float32 in a range

Arrays = dict[str, Shaped[np.ndarray, "n ..."]]


class Split(NamedTuple):
  """One split.

  Attributes:
    size: number of examples.
    load: `load(indices [n] ints, keys)` gives `{key: array [n, ...]}` of the asked keys that there are, and
      reads nothing else. Pictures (`image`, `clip`, `albedo`) are uint8; all else is as batches have it.
    in_memory: loading costs no decoding.
    shares: of a mix of several sets, which follow each other in the indices: the size of each, and its parts
      of every training batch; () where all examples are drawn alike.
  """

  size: int
  load: Callable[[np.ndarray, Collection[str]], Arrays]
  in_memory: bool
  shares: tuple[tuple[int, int], ...] = ()


class Dataset(NamedTuple):
  """A data set.

  Attributes:
    name: for messages.
    train, validation: the two splits that training reads.
    elements: what batches hold, by key: the picture, truth and labels.
    classes: for each `label/NAME` (and `segmentation`) the names of its classes, () for numbers.
    skipped: files that are left out, as (name, reason); grows while a set too large for memory is read.
    note: a remark for the user.
    tests: splits that training never reads: `test`, and beyond the training range `test_light` and
      `test_view`.
    report: what was read and what was not, line by line.
    folder: of a prepared copy that is the same for everybody; what is costly to derive from it may be kept
      there. "" where there is none.
    fingerprint: changes with the files and labels of a set of the user's, so that nothing is kept of what was
      there before; "" for sets that do not change.
  """

  name: str
  train: Split
  validation: Split
  elements: ElementSpec
  classes: dict[str, tuple[str, ...]]
  skipped: list[tuple[str, str]]
  note: str = ""
  tests: Mapping[str, Split] = types.MappingProxyType({})
  report: tuple[str, ...] = ()
  folder: str = ""
  fingerprint: str = ""


class Option(NamedTuple):
  """What one source alone can be asked for, by `data.options`: a default, what it accepts, what it means."""

  default: int | float | str
  rule: Rule
  meaning: str


class Source(NamedTuple):
  """What the module of a data source says of itself, under the name `SOURCE`.

  Attributes:
    about: one line.
    open: gives the data set of a configuration; it reads the section `data` alone. Raises UserError.
    path: what `data.path` names, such as "a folder or zip of images"; "" where no path is read.
    crops: `data.crop` is read.
    split_by_label: `data.split_by` may name a label.
    label_kinds: `data.label_kinds` is read.
    clips: `data.frames` may be above 0.
    any_length: clips of any length cost nothing to open, and longer ones are the shorter ones with what comes
      after.
    licence: for model cards: what the data's terms mean for parameters trained on it; "" where unknown.
    landmarks: `(weights [B, M], view [B, 6], side) -> [B, L, 3]` from those keys of a batch: column u and row
      v in pixels, depth in model units; None where there are none.
    options: what `data.options` may set, by name; `open` reads them with `options_of`.
  """

  about: str
  open: Callable[[Any], Dataset]
  path: str = ""
  crops: bool = False
  split_by_label: bool = False
  label_kinds: bool = False
  clips: bool = False
  any_length: bool = False
  licence: str = ""
  landmarks: Callable[[Any, Any, int], Any] | None = None
  options: Mapping[str, Option] = types.MappingProxyType({})


def options_of(data: Any, options: Mapping[str, Option]) -> dict[str, Any]:
  """The values of a source's options: what `data.options` (`NAME=VALUE,NAME=VALUE`) says, else defaults.

  Raises UserError for another name, and for a value that the option does not accept.
  """
  values = {name: option.default for name, option in options.items()}
  for word in filter(None, data.options.split(",")):
    name, _, text = (part.strip() for part in word.partition("="))
    if name not in options:
      known = ", ".join(f"{name} ({option.meaning})" for name, option in options.items()) or "none"
      raise UserError(f"data.options={data.options}: {data.name} has no option {name}; it has {known}")
    option = options[name]
    try:
      values[name] = type(option.default)(text)
    except ValueError:
      raise UserError(f"data.options: {name}={text}: must be {type(option.default).__name__}") from None
    if not option.rule.accepts(values[name]):
      raise UserError(f"data.options: {name}={text}: must be {option.rule.words}")
  return values


def input_key(data: Any) -> str:
  """The key of the pictures, by the section `data`: `clip` where it asks for frames, else `image`."""
  return "clip" if data.frames else "image"


def picture_shape(data: Any) -> tuple[int, ...]:
  """(S, S, C), or (T, S, S, C) for clips."""
  frames = (data.frames,) if data.frames else ()
  return (*frames, data.side, data.side, data.channels)


def elements_of(arrays: Mapping[str, Shaped[np.ndarray, "..."]]) -> dict[str, Element]:
  """The elements of loaded examples `[n, ...]`, whatever their number: shapes without the first axis."""
  spec = {}
  for key, array in arrays.items():
    meaning = key.split("/")[0] if key.startswith(("label/", "missing/")) else key
    picture = meaning in PICTURES
    dtype = "float32" if picture else array.dtype.name
    spec[key] = Element(tuple(array.shape[1:]), dtype, meaning, (-1.0, 1.0) if picture else None)
  return spec


class Kept:
  """Remembers decoded pictures once they were read, where the set fits in memory.

  `shape` is that of one picture or clip, such as (S, S, C).
  """

  def __init__(self, count: int, shape: tuple[int, ...]):
    self._keep = fits_in_memory(count * int(np.prod(shape)))
    # Empty pages cost nothing until they are written to.
    self._images = np.empty((count if self._keep else 0, *shape), np.uint8)
    self._known = np.zeros(count, bool)

  def __getstate__(
    self,
  ):  # each of Grain's worker processes sees a part of every epoch: all of them would keep the set
    return {"_keep": False, "_images": None, "_known": np.zeros_like(self._known)}

  def get(self, index: int, read: Callable[[int], np.ndarray]) -> UInt8[np.ndarray, "..."]:
    """The picture at `index`, by `read(index)` unless it is known.

    Safe in threads: at worst two read the same one.
    """
    if self._known[index]:
      return self._images[index]
    image = read(index)
    if self._keep:
      self._images[index] = image
      self._known[index] = True
    return image


class MemorySplit:
  """`Split.load` over arrays [N, ...] in memory."""

  def __init__(self, arrays: Arrays):
    self.arrays = arrays

  def __call__(self, indices: Int[np.ndarray, " n"], keys: Collection[str]) -> Arrays:
    return {key: array[indices] for key, array in self.arrays.items() if key in keys}


def memory_split(arrays: Arrays) -> Split:
  """A Split of arrays [N, ...] that are already decoded; pictures are uint8."""
  return Split(len(next(iter(arrays.values()))), MemorySplit(arrays), in_memory=True)


def fits_in_memory(bytes_needed: int) -> bool:
  """May so many bytes of decoded images be kept?

  They may be at most CACHE_LIMIT, and a third of what the machine has free.
  """
  try:
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  except (ValueError, OSError, AttributeError):  # macOS and Windows do not tell
    free = 3 * CACHE_LIMIT
  return bytes_needed <= min(CACHE_LIMIT, free // 3)


def decode_first(count: int, shape: tuple[int, ...]) -> bool:
  """Are all pictures decoded into one array before training starts?

  `shape` is that of one picture, (S, S, C), or of a clip.
  """
  pictures = count * (shape[0] if len(shape) == 4 else 1)
  return pictures <= EAGER_LIMIT and fits_in_memory(count * int(np.prod(shape)))


def for_each(count: int, work: Callable[[int], None], title: str, threads: int | None = None) -> None:
  """Runs `work(i)` for i in 0 ..

  count-1 in a thread pool, with a progress bar on stderr. Raises the first exception.
  """
  threads = threads or min(16, os.cpu_count() or 1)
  chunk = max(1, min(64, count // (threads * 4) or 1))

  def several(start: int) -> int:
    stop = min(start + chunk, count)
    for i in range(start, stop):
      work(i)
    return stop - start

  console = Console(stderr=True)
  progress = Progress(console=console, transient=True, disable=not console.is_terminal)
  with progress as bar, futures.ThreadPoolExecutor(threads) as pool:
    task = bar.add_task(title, total=count)
    jobs = [pool.submit(several, start) for start in range(0, count, chunk)]
    try:
      for job in futures.as_completed(jobs):
        bar.advance(task, job.result())
    finally:
      for job in jobs:  # after an error or Ctrl-C: do not finish the rest first
        job.cancel()
