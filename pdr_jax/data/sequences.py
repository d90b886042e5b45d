"""Clips from single frames.

It says which files are a clip and which clips are kept apart, and gives frames of a data set as clips.
"""

import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from pdr_jax.data import splits
from pdr_jax.data.dataset import Arrays, Dataset, Split
from pdr_jax.elements import Element
from pdr_jax.errors import UserError

SEQUENCE, FRAME, PERSON = "sequence", "frame", "person"  # columns of labels.csv
# Keys that have a value for each frame; labels, the light and a shape's weights have one for the clip.
PER_FRAME = ("image", "albedo", "depth", "mask", "normal", "segmentation", "view")


class Clips(NamedTuple):
  """Which files are a clip.

  Attributes:
    frames: indices of the files, in their order in time.
    people: of each clip, whose it is: clips of one person belong to one split.
    left_out: sequences that are too short, as (sequence, reason).
    rest: how many files at the ends of longer sequences are in no clip.
    gaps: sequences whose files are numbered with a gap, with the two files that are taken for neighbours.
    steps: from one frame's number to the next, with the first sequence where it is so.
  """

  frames: Int[np.ndarray, "N T"]
  people: tuple[str, ...]
  left_out: tuple[tuple[str, str], ...]
  rest: int = 0
  gaps: tuple[tuple[str, str, str], ...] = ()
  steps: Mapping[int, str] = MappingProxyType({})

  def files(self, chosen: Sequence[int]) -> list[int]:
    """The files of the chosen clips, clip after clip."""
    return self.frames[list(chosen)].reshape(-1).tolist()


# ---------------------------------------------------------------------------------- files of a folder
def read_roles(text: str) -> tuple[dict[str, str], str]:
  """What `data.label_kinds` says of sequences: `car:sequence,age:numbers` -> ({"sequence": "car"}, the rest).

  A column is named for each of `sequence`, `frame` and `person` at most.
  """
  roles, rest = {}, []
  for entry in filter(None, (entry.strip() for entry in text.split(","))):
    name, _, kind = entry.rpartition(":")
    if name and kind in (SEQUENCE, FRAME, PERSON):
      roles[kind] = name
    else:
      rest.append(entry)
  return roles, ",".join(rest)


def cut(
  names: Sequence[str], columns: Mapping[str, Sequence[Any]], frames: int, where: str, stride: int = 1
) -> Clips:
  """Cuts the sequences of files into clips of so many frames, one after the other.

  With a `stride` of n a clip is of every n-th frame, and a sequence is n such, which begin a frame apart. A
  rest at the end is left out. A sequence is what has one value in the column `sequence`, or else one folder,
  or what is of one `person` in it. Its files are in the order of the column `frame`, or else in the natural
  order of their names (2 before 10).

  Args:
    names: of the files, with their folders, as `a/2.png`.
    columns: labels by name, one value for each file; None or "" where it is missing.
    frames: T.
    where: names the files and their table in messages.
    stride: from one frame of a clip to the next, 1 or more.

  Raises UserError: a file without a sequence, a person or a frame number; two files with the same number; a
    number that is missing between others; a sequence of two people; no sequence with T frames.
  """
  people = _words(names, columns[PERSON], PERSON, where) if PERSON in columns else None
  ids = _words(names, columns[SEQUENCE], SEQUENCE, where) if SEQUENCE in columns else _places(names, people)
  people = people or ids
  numbers = _numbers(names, columns[FRAME], where) if FRAME in columns else None
  members: dict[str, list[int]] = {}
  for i, sequence in enumerate(ids):
    members.setdefault(sequence, []).append(i)
  wanted = f"data.frames={frames}" + (f" at data.options=stride={stride}" if stride > 1 else "")
  rows, owners, left_out, gaps, rest = [], [], [], [], 0
  steps: dict[int, str] = {}
  for sequence in sorted(members, key=natural):
    files = members[sequence]
    _check_one_person(sequence, [people[i] for i in files], where)
    if numbers is None:
      files.sort(key=lambda i: natural(names[i]))
      gaps += [(sequence, *pair) for pair in _gaps([names[i] for i in files])[:1]]
    else:
      files.sort(key=lambda i: numbers[i])
      step = _step(sequence, [numbers[i] for i in files], [names[i] for i in files], where)
      steps.setdefault(step, sequence)
    found = [
      part[k : k + frames]
      for part in (files[begin::stride] for begin in range(stride))
      for k in range(0, len(part) - frames + 1, frames)
    ]
    rows += found
    owners += [people[files[0]]] * len(found)
    rest += len(files) - len(found) * frames if found else 0
    if not found:
      left_out.append((sequence, f"{len(files)} frames, fewer than {wanted}"))
  if not rows:
    longest = max(members, key=lambda sequence: len(members[sequence]))
    raise UserError(
      f"{wanted}: none of the {len(members)} sequences of {where} is so long; the longest, "
      f"{longest}, has {len(members[longest])} frames"
    )
  return Clips(np.array(rows), tuple(owners), tuple(left_out), rest, tuple(gaps), steps)


def keep_apart(
  people: Sequence[str], seed: int, train_examples: int, val_examples: int
) -> tuple[list[int], list[int]]:
  """Splits clips by person: indices for (train, validation), each in a random order that the seed fixes.

  Whole people go to validation until it has `val_examples` clips (0: a tenth); `train_examples` at most are
  for training (0: all). Raises UserError where there is one person alone.
  """
  order = sorted(range(len(people)), key=lambda i: splits.rank(seed, f"{people[i]}/{i}"))
  ranked = sorted(set(people), key=lambda person: splits.rank(seed, f"value/{person}"))
  if len(ranked) < 2:
    raise UserError(
      f"all clips for training and validation are of one sequence or person ({ranked[0]}): they need two; "
      "put each into a folder of its own, or name them in the column sequence of labels.csv"
    )
  _, wanted = splits.sizes(len(people), train_examples, val_examples)
  apart: set[str] = set()
  for person in ranked[:-1]:  # one is left for training
    if sum(who in apart for who in people) >= wanted:
      break
    apart.add(person)
  validation = [i for i in order if people[i] in apart][:wanted]
  train = [i for i in order if people[i] not in apart]
  return train[: train_examples or None], validation


def varying(columns: Mapping[str, Sequence[Any]], clips: Clips) -> set[str]:
  """The columns that have more than one value within a clip: those are labels of frames, not of clips."""

  def varies(values: Sequence[Any]) -> bool:
    return any(values[i] != values[clip[0]] for clip in clips.frames for i in clip)

  return {name for name, values in columns.items() if varies(values)}


def natural(name: str) -> list[Any]:
  """A key that sorts names by their numbers as numbers: a2 before a10."""
  return [int(part) if k % 2 else part for k, part in enumerate(re.split(r"([0-9]+)", name))]


def _missing(value: Any) -> bool:
  return value is None or value == "" or value != value  # the last: not a number


def _words(names: Sequence[str], values: Sequence[Any], column: str, where: str) -> list[str]:
  for name, value in zip(names, values, strict=True):
    if _missing(value):
      raise UserError(f"{where}: {name} has no value in the column {column}: fill it in, or remove the file")
  return [str(value) for value in values]


def _places(names: Sequence[str], people: Sequence[str] | None) -> list[str]:
  """The folder of each file, and whose file it is: videos of one person lie in folders of their own."""
  folders = [posixpath.dirname(name) for name in names]
  if people is None:
    return [folder or "." for folder in folders]
  return [f"{who} in {folder}" if folder else who for who, folder in zip(people, folders, strict=True)]


def _numbers(names: Sequence[str], values: Sequence[Any], where: str) -> list[int]:
  numbers = []
  for name, value in zip(names, values, strict=True):
    try:
      number = None if _missing(value) else float(value)
    except (TypeError, ValueError):
      number = None
    if number is None or number != int(number):
      shown = "is missing" if _missing(value) else f"is {value!r}"
      raise UserError(f"{where}: the frame number of {name} {shown}: it must be a whole number")
    numbers.append(int(number))
  return numbers


def _check_one_person(sequence: str, people: Sequence[str], where: str) -> None:
  for person in people:
    if person != people[0]:
      raise UserError(f"{where}: the sequence {sequence} is of two people, {people[0]} and {person}")


def _step(sequence: str, numbers: Sequence[int], names: Sequence[str], where: str) -> int:
  """The step between sorted numbers, which must be different, and a constant step apart."""
  steps = np.diff(numbers)
  for k in np.flatnonzero(steps == 0):
    raise UserError(
      f"{where}: {names[k]} and {names[k + 1]} are both frame {numbers[k]} of the sequence {sequence}"
    )
  for k in np.flatnonzero(steps != min(steps, default=1)):
    absent = numbers[k] + min(steps)
    raise UserError(
      f"{where}: the sequence {sequence} has no frame {absent}, after {names[k]}: number its frames "
      "without a gap, or give what comes after the gap another sequence"
    )
  return int(min(steps, default=1))


def _gaps(names: Sequence[str]) -> list[tuple[str, str]]:
  """Pairs of neighbours between which numbers are missing, where the names of files end in numbers."""
  ends = [re.search(r"([0-9]+)[^0-9]*$", posixpath.splitext(posixpath.basename(name))[0]) for name in names]
  if len(names) < 3 or not all(ends):
    return []
  steps = np.diff([float(end[1]) for end in ends])
  return [(names[k], names[k + 1]) for k in np.flatnonzero(steps != min(steps))]


# ------------------------------------------------------------------------------- frames of a data set
class _ClipSplit:
  """`Split.load` of clips, from a split whose examples are frames: `frames` in a row are one clip."""

  def __init__(self, load, frames: int, per_frame: Collection[str]):
    self._load, self._frames, self._per_frame = load, frames, per_frame

  def __call__(self, indices: Int[np.ndarray, " n"], keys: Collection[str]) -> Arrays:
    wanted = {"image" if key == "clip" else key for key in keys if key != "image"}
    first, several = wanted - set(self._per_frame), wanted & set(self._per_frame)
    starts = indices * self._frames
    clips = {}
    if several:
      rows = (starts[:, None] + np.arange(self._frames)).reshape(-1)
      loaded = self._load(rows, several)
      clips = {
        key: array.reshape(len(indices), self._frames, *array.shape[1:]) for key, array in loaded.items()
      }
    if first:
      clips |= self._load(starts, first)
    return {"clip" if key == "image" else key: array for key, array in clips.items()}


def of_frames(data: Dataset, frames: int, per_frame: Collection[str] = ()) -> Dataset:
  """A data set of frames as one of clips: in every split, `frames` examples in a row are one clip.

  `image` becomes `clip` [T, S, S, C]; truth of pixels and `view` get the axis T. All else, labels too, is
  that of the first frame, except for the keys in `per_frame`, which get the axis T as well.
  """
  per_frame = {*PER_FRAME, *per_frame}

  def of_split(split: Split) -> Split:
    return Split(split.size // frames, _ClipSplit(split.load, frames, per_frame), split.in_memory)

  def of_element(key: str, element: Element) -> Element:
    shape = (frames, *element.shape) if key in per_frame else element.shape
    return element._replace(shape=shape, meaning="clip" if key == "image" else element.meaning)

  return data._replace(
    train=of_split(data.train),
    validation=of_split(data.validation),
    elements={"clip" if key == "image" else key: of_element(key, e) for key, e in data.elements.items()},
    tests={name: of_split(split) for name, split in data.tests.items()},
  )
