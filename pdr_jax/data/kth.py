"""KTH's videos of six actions (Schuldt, Laptev, Caputo 2004) as clips of grey frames.

A video has several segments, listed by first and last frame in `00sequences.txt`; each is cut into clips, one
after the other. Persons 1 to 16 are for training (the last of them for validation), 17 to 25 for the test.
"""

import os
import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from pdr_jax.data import stores, transforms
from pdr_jax.data.dataset import Arrays, Dataset, Kept, Split, elements_of
from pdr_jax.errors import UserError

ACTIONS = ("boxing", "handclapping", "handwaving", "jogging", "running", "walking")
LIST = "00sequences.txt"
LAST_TRAINED, HELD_OUT, PERSONS, SCENES = 16, 16, 25, 4
ADVICE = f"the folder with {LIST} and the videos, such as walking/person01_walking_d1_uncomp.avi"
_LINE = re.compile(r"person(\d+)_([a-z]+)_d(\d)\s+frames\s+(.+)", re.IGNORECASE)
_RANGE = re.compile(r"(\d+)\s*-\s*(\d+)")


class Clip(NamedTuple):
  """Where a clip lies: the video's path, its first frame from 0, and whose it is."""

  path: str
  start: int
  person: int
  action: int
  scene: int


def clips_of(folder: str, frames: int) -> tuple[list[Clip], list[tuple[str, str]]]:
  """The clips of all videos, and the videos that are listed and not there. Raises `UserError`."""
  path = os.path.join(folder, LIST)
  if not os.path.isfile(path):
    raise UserError(f"there is no {path}: data.path must be {ADVICE}")
  with open(path, encoding="utf-8", errors="replace") as file:
    listed = [match for match in map(_LINE.match, map(str.strip, file)) if match]
  if not listed:
    raise UserError(f"{path} lists no sequence, such as: person01_boxing_d1 frames 1-95, 96-185")
  clips, absent = [], []
  for match in listed:
    person, action, scene, ranges = int(match[1]), match[2].lower(), int(match[3]), match[4]
    if action not in ACTIONS or not 1 <= person <= PERSONS or not 1 <= scene <= SCENES:
      raise UserError(f"{path}: {match[0]!r} is no person, action and scene of KTH")
    video = _video(folder, f"person{person:02d}_{action}_d{scene}")
    if video is None:
      absent.append((f"person{person:02d}_{action}_d{scene}", "the video is not there"))
      continue
    for first in _starts(ranges, frames):
      clips.append(Clip(video, first, person, ACTIONS.index(action), scene - 1))
  if not clips:
    raise UserError(f"{folder} has no listed video of {frames} frames: data.path must be {ADVICE}")
  return clips, absent


def _video(folder: str, stem: str) -> str | None:
  action = stem.split("_")[1]
  for place in (os.path.join(folder, action), folder):
    for end in ("_uncomp.avi", ".avi"):
      path = os.path.join(place, stem + end)
      if os.path.isfile(path):
        return path
  return None


def _starts(ranges: str, frames: int) -> Iterator[int]:
  """First frames, from 0, of the clips of each segment `first-last`, which count from 1."""
  for first, last in _RANGE.findall(ranges):
    yield from range(int(first) - 1, int(last) - frames + 1, frames)


def read_frames(clip: Clip, frames: int, side: int) -> UInt8[np.ndarray, "T S S 1"]:
  """The frames of a clip, squashed to the side. Raises `UserError` for a video that ends before."""
  capture, pictures = cv2.VideoCapture(clip.path), []
  try:
    for i in range(clip.start + frames):
      good = capture.grab()
      if good and i >= clip.start:
        good, picture = capture.retrieve()
      if not good:
        raise UserError(f"{clip.path} is no video, or has no frame {i + 1} of {clip.start + frames} listed")
      if i >= clip.start:
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        pictures.append(cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA))
  finally:
    capture.release()
  return np.stack(pictures)[..., None]


class _Clips:
  """`Split.load`; clips are kept where they fit in memory."""

  def __init__(self, clips: list[Clip], data: Any):
    self._clips, self._data = clips, data
    self._kept = Kept(len(clips), (data.frames, data.side, data.side, 1))

  def __call__(self, indices: Int[np.ndarray, " n"], keys: Collection[str]) -> Arrays:
    chosen = [self._clips[int(i)] for i in indices]
    arrays = {
      "label/action": np.array([clip.action for clip in chosen], np.int32),
      "label/person": np.array([clip.person - 1 for clip in chosen], np.int32),
      "label/scene": np.array([clip.scene for clip in chosen], np.int32),
    }
    if "clip" in keys:
      clips = np.stack([self._kept.get(int(i), self._read) for i in indices])
      arrays["clip"] = transforms.to_channels(clips, self._data.channels)
    return {key: array for key, array in arrays.items() if key in keys}

  def _read(self, index: int) -> UInt8[np.ndarray, "T S S 1"]:
    return read_frames(self._clips[index], self._data.frames, self._data.side)


def open_kth(data: Any) -> Dataset:
  """The data set of a configuration's section `data`. Raises `UserError`."""
  if data.frames < 1:
    raise UserError(f"data.frames={data.frames}: {data.name} has clips and needs at least 1")
  folder = os.path.expanduser(data.path)
  clips, absent = clips_of(folder, data.frames)
  order = np.random.default_rng([data.scene_seed]).permutation(len(clips))
  mixed = [clips[i] for i in order]
  chosen = {
    "train": [clip for clip in mixed if clip.person <= LAST_TRAINED and clip.person != HELD_OUT],
    "validation": [clip for clip in mixed if clip.person == HELD_OUT],
    "test": [clip for clip in mixed if clip.person > LAST_TRAINED],
  }
  limits = {"train": data.train_examples, "validation": data.val_examples}
  splits = {}
  for name, part in chosen.items():
    part = part[: limits.get(name, 0) or None]
    if not part and name != "test":
      raise UserError(f"data.path={data.path}: there is no video of the persons of {name} (16: validation)")
    if part:
      splits[name] = Split(len(part), _Clips(part, data), in_memory=False)
  classes = {
    "label/action": ACTIONS,
    "label/person": tuple(map(str, range(1, PERSONS + 1))),
    "label/scene": tuple(f"d{i + 1}" for i in range(SCENES)),
  }
  return Dataset(
    name=data.name,
    train=splits["train"],
    validation=splits["validation"],
    elements=elements_of(splits["train"].load(np.arange(1), ["clip", *classes])),
    classes=classes,
    skipped=absent,
    note="frames are decoded as they are first read",
    tests={"test": splits["test"]} if "test" in splits else {},
    fingerprint=stores.fingerprint_of([os.path.join(folder, LIST), *sorted({clip.path for clip in clips})]),
  )
