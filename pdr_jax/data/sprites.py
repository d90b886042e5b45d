"""The Sprites clips of Li and Mandt (2018), composed from the sheets of the Liberated Pixel Cup.

Every sheet has 13 columns and 21 rows of cells of 64 pixels, and the same cell of every sheet fits together:
a frame is the cells of body, bottom wear, top wear, hair and shoes, one over the other on black. Six of each
of the first four make 1,296 characters; each makes nine motions of eight frames.
"""

import functools
import os
from collections.abc import Collection
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image

from pdr_jax.data import stores, transforms
from pdr_jax.data.dataset import Arrays, Dataset, Kept, Split, elements_of
from pdr_jax.errors import UserError

CELL, COLUMNS, ROWS = 64, 13, 21
FRAMES = 8
# In the order in which they are laid over one another: the folder, and the numbers of its files.
LAYERS = {
  "body": range(6),
  "bottomwear": range(6),
  "topwear": range(6),
  "hair": range(6),
  "shoes": (1,),
}
LABELS = {"label/body": "body", "label/bottom": "bottomwear", "label/top": "topwear", "label/hair": "hair"}
MOTIONS = tuple(f"{action} {turn}" for action in ("walk", "spellcard", "slash") for turn in
                ("front", "left", "right"))
# Row of the front, left and right view, and the columns of the frames.
ACTIONS = {
  "walk": ((10, 9, 11), (8, 1, 2, 3, 4, 5, 6, 7)),
  "spellcard": ((2, 1, 3), (0, 1, 2, 3, 4, 5, 4, 6)),
  "slash": ((14, 13, 15), (0, 1, 2, 3, 4, 5, 4, 0)),
}
CHARACTERS, TRAIN, HELD_OUT = 6**4, 1000, 100  # the published split; of train, so many are for validation
SEED = 423  # of the published split
ADVICE = f"the folder with {', '.join(f'{name}/' for name in LAYERS)} of LPC sprite sheets, 0.png to 5.png"


def characters() -> dict[str, Int[np.ndarray, " N"]]:
  """The numbers of the characters of each split: 900, 100 and 296."""
  order = np.random.RandomState(SEED).permutation(CHARACTERS)
  return {
    "train": order[: TRAIN - HELD_OUT],
    "validation": order[TRAIN - HELD_OUT : TRAIN],
    "test": order[TRAIN:],
  }


class Cells(NamedTuple):
  """The cells of a sheet for every motion and frame; `covers` says where they are opaque.

  `alpha` is None where a cell is opaque or nothing at every pixel, as nearly all are.
  """

  colours: UInt8[np.ndarray, "9 8 64 64 3"]
  covers: Bool[np.ndarray, "9 8 64 64 1"]
  alpha: UInt8[np.ndarray, "9 8 64 64 1"] | None


def read_sheets(folder: str) -> dict[str, list[Cells]]:
  """The cells of every motion and frame, by layer and number. Raises `UserError`."""
  return {
    layer: [_cells(_path(folder, layer, number)) for number in numbers] for layer, numbers in LAYERS.items()
  }


def _path(folder: str, layer: str, number: int) -> str:
  path = os.path.join(folder, layer, f"{number}.png")
  if not os.path.isfile(path):
    raise UserError(f"there is no {path}: data.path must be {ADVICE}")
  return path


def _cells(path: str) -> Cells:
  try:
    with Image.open(path) as image:
      sheet = np.asarray(image.convert("RGBA"))
  except (OSError, ValueError) as error:
    raise UserError(f"{path} is no picture ({error})") from error
  if sheet.shape[:2] != (ROWS * CELL, COLUMNS * CELL):
    height, width = sheet.shape[:2]
    raise UserError(f"{path} is {width} x {height}: a sheet is {COLUMNS * CELL} x {ROWS * CELL}")
  cells = sheet.reshape(ROWS, CELL, COLUMNS, CELL, 4).swapaxes(1, 2)
  motions = [cells[row][list(columns)] for rows, columns in ACTIONS.values() for row in rows]
  colours, alpha = np.split(np.stack(motions), [3], axis=-1)
  plain = bool(np.isin(alpha, (0, 255)).all())
  return Cells(np.ascontiguousarray(colours), alpha == 255, None if plain else alpha)


def parts_of(character: int) -> dict[str, int]:
  """Which body, bottom wear, top wear and hair a character has: the digits of its number to base 6."""
  digits = [character // 6**k % 6 for k in (3, 2, 1, 0)]
  return dict(zip(LABELS.values(), digits, strict=True))


def compose(
  sheets: dict[str, list[Cells]], character: int, motion: int, frames: int
) -> UInt8[np.ndarray, "T 64 64 3"]:
  """A clip: the layers one over the other on black."""
  parts = parts_of(character)
  clip = np.zeros((frames, CELL, CELL, 3), np.uint8)
  for layer, cells in sheets.items():
    colours, covers, alpha = cells[parts.get(layer, 0)]
    if alpha is None:
      np.copyto(clip, colours[motion, :frames], where=covers[motion, :frames])
      continue
    share = alpha[motion, :frames].astype(np.uint16)
    mixed = (colours[motion, :frames] * share + clip * (255 - share) + 127) // 255
    clip[...] = mixed
  return clip


class _Clips:
  """`Split.load`; clips are kept where they fit in memory. Clip i is motion i % 9 of a character."""

  def __init__(self, sheets: dict, chosen: Int[np.ndarray, " N"], data: Any):
    self._sheets, self._characters, self._data = sheets, chosen, data
    shape = (data.frames, data.side, data.side, data.channels)
    self._kept = Kept(len(chosen) * len(MOTIONS), shape)

  def __call__(self, indices: Int[np.ndarray, " n"], keys: Collection[str]) -> Arrays:
    which, motion = np.divmod(indices, len(MOTIONS))
    chosen = self._characters[which]
    parts = [parts_of(int(character)) for character in chosen]
    arrays = {key: np.array([part[name] for part in parts], np.int32) for key, name in LABELS.items()}
    arrays["label/motion"] = motion.astype(np.int32)
    if "clip" in keys:
      arrays["clip"] = np.stack([self._kept.get(int(i), self._read) for i in indices])
    return {key: array for key, array in arrays.items() if key in keys}

  def _read(self, index: int) -> UInt8[np.ndarray, "T S S C"]:
    which, motion = divmod(index, len(MOTIONS))
    clip = compose(self._sheets, int(self._characters[which]), motion, self._data.frames)
    side = self._data.side
    if side != CELL:
      way = cv2.INTER_AREA if side < CELL else cv2.INTER_CUBIC
      clip = np.stack([cv2.resize(frame, (side, side), interpolation=way) for frame in clip])
    return transforms.to_channels(clip, self._data.channels)


def open_sprites(data: Any) -> Dataset:
  """The data set of a configuration's section `data`. Raises `UserError`."""
  if not 1 <= data.frames <= FRAMES:
    raise UserError(f"data.frames={data.frames}: {data.name} has clips of 1 to {FRAMES} frames")
  folder = os.path.expanduser(data.path)
  sheets = read_sheets(folder)
  limits = {"train": data.train_examples, "validation": data.val_examples, "test": 0}
  splits = {}
  for name, chosen in characters().items():
    count = len(chosen) * len(MOTIONS)
    size = min(limits[name] or count, count)
    splits[name] = Split(size, _spread(_Clips(sheets, chosen, data), count, name), in_memory=True)
  keys = ["clip", *LABELS, "label/motion"]
  classes = {key: tuple(map(str, range(6))) for key in LABELS} | {"label/motion": MOTIONS}
  return Dataset(
    name=data.name,
    train=splits["train"],
    validation=splits["validation"],
    elements=elements_of(splits["train"].load(np.arange(1), keys)),
    classes=classes,
    skipped=[],
    note="clips are composed as they are first read",
    tests={"test": splits["test"]},
    fingerprint=stores.fingerprint_of(
      _path(folder, layer, number) for layer, numbers in LAYERS.items() for number in numbers
    ),
  )


def _spread(clips: _Clips, count: int, name: str) -> Any:
  """`clips` in a random order that is always the same, so that the first ones are of many characters."""
  turn = ("train", "validation", "test").index(name)
  return functools.partial(_load, clips, np.random.default_rng([SEED, turn]).permutation(count))


def _load(clips: _Clips, order: np.ndarray, indices: np.ndarray, keys: Collection[str]) -> Arrays:
  return clips(order[indices], keys)
