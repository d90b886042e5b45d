"""Squares that are cut out of larger pictures: heads and objects, by what is known of where they are."""

import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from pdr_jax.data import decode

FACE_SIDE, FACE_RAISED = 1.5, 0.06  # of the box around its landmarks; of the square: above the box's middle


class Square(NamedTuple):
  """A square of a picture: `centre` (column, row) and `side` in its pixels, whose centres are at integers."""

  picture: str
  centre: tuple[float, float]
  side: float


def around_landmarks(picture: str, points: Float[np.ndarray, "2 N"]) -> Square:
  """The square around a face with some of the forehead, from landmarks (columns and rows)."""
  low, high = points.min(axis=1), points.max(axis=1)
  side = FACE_SIDE * float((high - low).max())
  column, row = (low + high) / 2
  return Square(picture, (float(column), float(row) - FACE_RAISED * side), side)


def cut(pixels: UInt8[np.ndarray, "h w C"], square: Square) -> UInt8[np.ndarray, "s s C"]:
  """The pixels of a square, whole ones; outside of the picture its rim is repeated."""
  side = max(1, round(square.side))
  columns, rows = (
    np.clip(round(middle - (side - 1) / 2) + np.arange(side), 0, extent - 1)
    for middle, extent in zip(square.centre, pixels.shape[1::-1], strict=True)
  )
  return pixels[rows[:, None], columns[None]]


class Squares:
  """The squares of a store's pictures, by names of their own, as a store."""

  def __init__(self, store: Any, squares: Mapping[str, Square]):
    self.where, self.names, self._store, self._squares = store.where, list(squares), store, squares
    self.left_out = dict(getattr(store, "left_out", {}))
    unused = set(store.names) - {square.picture for square in squares.values()}
    if unused:
      self.left_out["images that are not of the set"] = len(unused)

  def open(self, name: str) -> io.BytesIO:
    """The square of this name. Raises BadImage where its picture cannot be read."""
    square = self._squares[name]
    try:
      with self._store.open(square.picture) as file, Image.open(file, formats=decode.FORMATS) as image:
        pixels = np.asarray(image.convert("RGB"))
    except decode.BadImage:
      raise
    except Exception as error:  # decoders raise anything
      raise decode.BadImage(f"cannot be read ({error})") from error
    piece = cut(pixels, square)
    return io.BytesIO(b"P6 %d %d 255\n" % piece.shape[1::-1] + piece.tobytes())

  def stamp(self, name: str) -> str:
    """What changes with a square or its picture."""
    square = self._squares[name]
    return f"{self._store.stamp(square.picture)} {square.centre} {square.side}"
