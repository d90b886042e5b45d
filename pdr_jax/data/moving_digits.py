"""Clips of digits that move in straight lines and bounce off the edges (specification, section 2.6).

Nothing is stored but the digits: each clip is drawn when it is read, from a random stream of its own, so that
clip i of a split is always the same.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from pdr_jax.data import digits, stores
from pdr_jax.data.dataset import Arrays, Dataset, Option, Split, elements_of, options_of
from pdr_jax.rules import between

SPLITS = ("train", "validation", "test")
SPEEDS = (-4, -3, -2, -1, 1, 2, 3, 4)  # pixels a frame along each axis, of pictures of side 64
SIDE = 64  # that the speeds are of
OPTIONS = {"objects": Option(1, between(1, 3), "how many digits there are, 1 to 3")}
TRAIN, OTHERS = 20_000, 1_000  # clips where the configuration says 0, all of them


class Clips:
  """`Split.load` of moving digits.

  Args:
    glyphs: the digits of the split.
    data: the section of the configuration.
    split: its name.
  """

  def __init__(self, glyphs: digits.Glyphs, data: Any, split: str):
    self._glyphs, self._seed, self._split = glyphs, data.scene_seed, SPLITS.index(split)
    self._side, self._channels = data.side, data.channels
    self._objects = options_of(data, OPTIONS)["objects"]
    self._key, self._frames = ("clip", data.frames) if data.frames else ("image", 1)

  def __call__(self, indices: Int[np.ndarray, " n"], keys: Collection[str]) -> Arrays:
    scenes = [self._scene(int(index)) for index in indices]
    chosen, corners, front = (np.stack(part) for part in zip(*scenes, strict=True))
    labels, size = self._glyphs.labels[chosen].astype(np.int32), self._glyphs.images.shape[1]
    arrays = {"position": (corners + (size - 1) / 2).astype(np.float32)}
    if self._key in keys:
      arrays[self._key] = draw(self._glyphs.images[chosen], corners, front, self._side, self._channels)
    if self._key == "image":
      arrays = {key: array[:, 0] for key, array in arrays.items()}
    arrays |= {name: labels[:, k] for k, name in enumerate(label_names(self._objects))}
    return {key: array for key, array in arrays.items() if key in keys}

  def _scene(self, index: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Which digits, where they are in each frame, and which of them is in front."""
    rng = np.random.default_rng([self._seed, self._split, index])
    chosen = rng.integers(0, len(self._glyphs.labels), self._objects)
    room = self._side - self._glyphs.images.shape[1]
    corners = paths(rng, self._objects, self._frames, room, self._side)
    return chosen, corners, int(rng.integers(0, self._objects))


def label_names(objects: int) -> list[str]:
  """`label/digit` of a single digit, else `label/digit_0` and so on, in the order of their channels."""
  return ["label/digit"] if objects == 1 else [f"label/digit_{k}" for k in range(objects)]


def paths(
  rng: np.random.Generator, objects: int, frames: int, room: int, side: int
) -> Int[np.ndarray, "T K 2"]:
  """The left upper corners (column, row) of each object in each frame, from 0 to `room`.

  Where an object would leave the picture it stays at the edge and turns round.
  """
  place = rng.uniform(0, room, (objects, 2))
  speed = rng.choice(SPEEDS, (objects, 2)) * (side / SIDE)
  corners = np.empty((frames, objects, 2), np.int64)
  for t in range(frames):
    corners[t] = np.rint(place)
    place = place + speed
    speed = np.where((place < 0) | (place > room), -speed, speed)
    place = np.clip(place, 0, room)
  return corners


def draw(
  glyphs: UInt8[np.ndarray, "n K s s"],
  corners: Int[np.ndarray, "n T K 2"],
  front: Int[np.ndarray, " n"],
  side: int,
  channels: int,
) -> UInt8[np.ndarray, "n T S S C"]:
  """The frames of clips: each glyph in a colour channel of its own, or all in grey.

  The one in front covers whatever of the others lies beneath it.
  """
  (count, frames, objects, _), size = corners.shape, glyphs.shape[-1]
  clips = np.zeros((count, frames, side, side, channels), np.uint8)
  pixels, clip = clips.reshape(-1), np.arange(count)
  inside = side * np.arange(size)[:, None] + np.arange(size)
  first = (np.arange(count * frames) * side * side).reshape(count, frames)
  for turn in range(1, objects + 1):
    which = (front + turn) % objects  # the last turn is that of the one in front
    column, row = np.moveaxis(corners[clip, :, which], -1, 0)
    places = channels * ((first + side * row + column)[..., None, None] + inside)
    glyph = np.broadcast_to(glyphs[clip, which][:, None], places.shape)
    if turn == objects > 1:
      for channel in range(channels):
        beneath = pixels[places + channel].astype(np.uint16)
        pixels[places + channel] = (beneath * (255 - glyph.astype(np.uint16)) + 127) // 255
    if channels > 1:
      places = places + which[:, None, None, None]
    pixels[places] = np.maximum(pixels[places], glyph)
  return clips


def open_digits(data: Any) -> Dataset:
  """The data set of a configuration's section `data`; `data.path` may be a folder of MNIST's files.

  Raises `UserError`.
  """
  objects = options_of(data, OPTIONS)["objects"]
  glyphs = digits.of_folder(data.path, data.side // 2) if data.path else digits.embedded(data.side // 2)
  clips = data.train_examples or TRAIN, data.val_examples or OTHERS
  sizes = dict(zip(SPLITS, (*clips, clips[1]), strict=True))
  splits = {name: Split(sizes[name], Clips(glyphs[name], data, name), in_memory=True) for name in SPLITS}
  keys = ["clip" if data.frames else "image", "position", *label_names(objects)]
  return Dataset(
    name=data.name,
    train=splits["train"],
    validation=splits["validation"],
    elements=elements_of(splits["train"].load(np.arange(1), keys)),
    classes={name: tuple(map(str, range(10))) for name in label_names(objects)},
    skipped=[],
    note=f"{objects} in each, of {len(glyphs['train'].labels):,} pictures of digits",
    tests={"test": splits["test"]},
    fingerprint=stores.fingerprint_of(digits.files(data.path)) if data.path else "",
  )
