"""Pictures of digits, or of anything else in MNIST's files, that moving_digits draws from."""

import gzip
import os
import struct
import zlib
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from pdr_jax.errors import UserError

# The published names of the files, with `.gz` or without; each part is images and labels.
PARTS = {
  "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
  "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
LAYOUT = "the folder with " + ", ".join(f"{name} (or .gz)" for names in PARTS.values() for name in names)
HELD_OUT = 5_000  # of MNIST's training part: validation, as the paper's code has it
SHARE = 6  # of scikit-learn's digits, every so manieth is for validation, and as many for the test


class Glyphs(NamedTuple):
  """Grey pictures and their classes."""

  images: UInt8[np.ndarray, "N s s"]
  labels: Int[np.ndarray, " N"]


def embedded(side: int) -> dict[str, Glyphs]:
  """scikit-learn's handwritten digits, 8 x 8, enlarged: 1,197 to train on, and 300 each for the others."""
  from sklearn.datasets import load_digits  # slow to import

  bunch = load_digits()
  images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
  labels, turn = bunch.target.astype(np.int32), np.arange(len(images)) % SHARE
  parts = {"train": turn > 1, "validation": turn == 0, "test": turn == 1}
  return {name: Glyphs(resized(images[rows], side), labels[rows]) for name, rows in parts.items()}


def of_folder(folder: str, side: int) -> dict[str, Glyphs]:
  """MNIST's idx files; the last 5,000 of its training part are for validation. Raises `UserError`."""
  folder = os.path.expanduser(folder)
  read = {}
  for part, (images, labels) in PARTS.items():
    pictures, classes = read_idx(_file(folder, images), 3), read_idx(_file(folder, labels), 1)
    if len(pictures) != len(classes):
      raise UserError(f"{folder}: {images} has {len(pictures)} pictures and {labels} {len(classes)} labels")
    read[part] = Glyphs(resized(pictures, side), classes.astype(np.int32))
  train, held_out = read["train"], min(HELD_OUT, len(read["train"].labels) // 2)
  cut = len(train.labels) - held_out
  return {
    "train": Glyphs(train.images[:cut], train.labels[:cut]),
    "validation": Glyphs(train.images[cut:], train.labels[cut:]),
    "test": read["test"],
  }


def files(folder: str) -> list[str]:
  """The paths of the idx files in a folder. Raises `UserError`."""
  folder = os.path.expanduser(folder)
  return [_file(folder, name) for names in PARTS.values() for name in names]


def _file(folder: str, name: str) -> str:
  for path in (os.path.join(folder, name), os.path.join(folder, f"{name}.gz")):
    if os.path.isfile(path):
      return path
  raise UserError(f"{folder} has no {name} or {name}.gz: data.path must be {LAYOUT}")


def read_idx(path: str, axes: int) -> UInt8[np.ndarray, "..."]:
  """The bytes of an idx file with so many axes. Raises `UserError` for anything else."""
  try:
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
      data = file.read()
  except (OSError, EOFError, zlib.error) as error:
    raise UserError(f"{path} cannot be read ({error})") from error
  head = 4 + 4 * axes
  if len(data) < head or data[:4] != bytes((0, 0, 8, axes)):
    raise UserError(f"{path} is no idx file of bytes with {axes} axes")
  shape = struct.unpack(f">{axes}I", data[4:head])
  if len(data) - head != int(np.prod(shape)):
    raise UserError(f"{path} is damaged: it has {len(data) - head} bytes of data, and its head says {shape}")
  return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def resized(images: UInt8[np.ndarray, "N h w"], side: int) -> UInt8[np.ndarray, "N {side} {side}"]:
  """Enlarged by cubic, or reduced by area, interpolation."""
  if images.shape[1:] == (side, side):
    return images
  way = cv2.INTER_AREA if side < images.shape[1] else cv2.INTER_CUBIC
  return np.stack([cv2.resize(image, (side, side), interpolation=way) for image in images])
