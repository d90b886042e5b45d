"""The part of a photograph that a model gets: a rectangle, the centre square, or the face that is found.

A face is found by the cascade of local binary patterns that OpenCV trained and scikit-image carries; how much
around it belongs to a crop the model says, by its reconstruction error: it knows what it was trained on.
Without scikit-image, or where the detector finds none, the model alone chooses among squares of the picture.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from pdr_jax.data import decode, transforms
from pdr_jax.errors import UserError

AUTO, CENTRE, FACES = "auto", "center", "faces"
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the source, as it is looked at
LOOKED_AT = 320  # pixels of the squares in which faces are looked for
SMALLEST_FACE = 0.15  # of such a square
SCALES = (1.0, 1.2, 1.45, 1.75)  # of a crop, in sides of the detector's box
SHIFTS = (-0.1, 0.0, 0.1)  # of a crop, downwards, in the same unit
FRACTIONS = (1.0, 0.8, 0.6, 0.45)  # of the shorter side, where no face is found
TOGETHER = 13  # crops in one batch of the model: one size, one program
SAME = 0.3  # of their union is shared by two boxes around one face
FLAT = 1e-3  # contrast, of [-1, 1], below which a crop shows nothing


class Crop(NamedTuple):
  """A box and how it came about, in words; "" for one that was asked for."""

  box: Box
  how: str = ""


# Of a file: its bytes, width and height, and the face that is meant, if one is.
Chooser = Callable[..., Crop]


def parse(words: Sequence[str]) -> tuple[int, ...] | str:
  """The words after `--crop`: auto, faces, or a rectangle, empty for the centre square.

  Raises `UserError`.
  """
  if list(words) in ([AUTO], [FACES], [CENTRE], []):
    return words[0] if list(words) in ([AUTO], [FACES]) else ()
  try:
    return decode.check_crop([int(word) for word in words])
  except ValueError:
    raise UserError(
      f"--crop {' '.join(words)}: must be auto, faces, center, or LEFT TOP RIGHT BOTTOM; pictures stand "
      "before it"
    ) from None


def fixed(crop: tuple[int, ...]) -> Chooser:
  """The same crop of every picture, empty for the centre square."""
  return lambda data, width, height, face=None: Crop(decode.crop_box(width, height, crop))


def automatic(model: Any) -> Chooser:
  """Looks for the face, and lets the model (an `exports.reader.Model`) choose among crops around it.

  Raises `UserError` where it reconstructs nothing.
  """
  missing = {"decompose"} - set(model.manifest.get("programs", ()))
  if missing or model.camera is None:
    raise UserError(f"--crop auto: a model of {model.manifest['method']} does not reconstruct pictures")
  detect, error, side = detector(), reconstruction_error(model), model.side

  def choose(data: bytes, width: int, height: int, face: Box | None = None) -> Crop:
    face = face or max(_found(detect, data, width, height), key=_size, default=None)
    candidates = around(face, width, height) if face else []
    if candidates:
      how = f"around a face of {_size(face)} pixels, found by scikit-image's cascade"
    else:
      why = "no face is found" if detect else "scikit-image, which finds faces, is not installed"
      candidates, how = grid(width, height), f"where the model's reconstruction error is least ({why})"
    pictures = [decode.decode_image(data, side, box) for box in candidates]
    pictures += pictures[:1] * (-len(pictures) % TOGETHER)
    batches = (np.stack(pictures[k : k + TOGETHER]) for k in range(0, len(pictures), TOGETHER))
    errors = np.concatenate([error(batch) for batch in batches])[: len(candidates)]
    return Crop(candidates[int(np.argmin(errors))], how)

  return choose


def detector() -> Callable[[UInt8[np.ndarray, "S S 3"]], list[dict]] | None:
  """Finds faces in a picture; None without scikit-image."""
  try:
    from skimage import data
    from skimage.feature import Cascade
  except ImportError:
    return None
  cascade = Cascade(data.lbp_frontal_face_cascade_filename())

  def detect(picture: UInt8[np.ndarray, "S S 3"]) -> list[dict]:
    smallest = (round(SMALLEST_FACE * len(picture)),) * 2
    return cascade.detect_multi_scale(
      img=picture, scale_factor=1.1, step_ratio=1, min_size=smallest, max_size=picture.shape[:2]
    )

  return detect


def faces(detect: Callable | None, data: bytes, width: int, height: int) -> list[Box]:
  """The faces in a photograph, each once, from left to right; none without a detector."""
  apart: list[Box] = []
  for face in sorted(_found(detect, data, width, height), key=_size, reverse=True):
    if all(_shared(face, other) < SAME for other in apart):
      apart.append(face)
  return sorted(apart)


def _found(detect: Callable | None, data: bytes, width: int, height: int) -> list[Box]:
  """What the detector finds in squares that cover the picture: a face may be in several of them."""
  return [face for box in squares(width, height) for face in _in_square(detect, data, box)]


def _shared(one: Box, other: Box) -> float:
  """The intersection of two boxes over their union."""
  wide, high = (min(one[k + 2], other[k + 2]) - max(one[k], other[k]) for k in (0, 1))
  both = max(wide, 0) * max(high, 0)
  areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
  return both / max(sum(areas) - both, 1)


def _in_square(detect: Callable | None, data: bytes, box: Box) -> list[Box]:
  """The faces in a square of a photograph, in pixels of the source."""
  if detect is None:
    return []
  left, top, right, _ = box
  scale = (right - left) / LOOKED_AT
  faces = detect(decode.decode_image(data, LOOKED_AT, box))
  corners = [(face["c"], face["r"], face["c"] + face["width"], face["r"] + face["height"]) for face in faces]
  shift = (left, top, left, top)
  return [tuple(round(value * scale) + shift[i] for i, value in enumerate(face)) for face in corners]


def _size(face: Box) -> int:
  return face[2] - face[0]


def squares(width: int, height: int) -> list[Box]:
  """Squares that cover a picture, neighbours half over each other."""
  side, length = min(width, height), max(width, height)
  count = -(-2 * (length - side) // side) + 1
  starts = np.linspace(0, length - side, count).round().astype(int).tolist()
  if width >= height:
    return [(start, 0, start + side, side) for start in starts]
  return [(0, start, side, start + side) for start in starts]


def around(face: Box, width: int, height: int) -> list[Box]:
  """Squares around a face that lie in the picture, among them the largest one that is centred on it."""
  left, top, right, bottom = face
  size, across, down = right - left, (left + right) / 2, (top + bottom) / 2
  boxes = [_square(across, down + shift * size, scale * size) for scale in SCALES for shift in SHIFTS]
  reach = min(across, down, width - across, height - down)
  boxes.append(_square(across, down, 2 * reach))
  usable = [box for box in boxes if _size(box) >= decode.SMALLEST]
  inside = [box for box in usable if min(box[:2]) >= 0 and box[2] <= width and box[3] <= height]
  return list(dict.fromkeys(inside))


def grid(width: int, height: int) -> list[Box]:
  """Squares of several sizes all over the picture."""
  whole = min(width, height)
  boxes = []
  for fraction in FRACTIONS:
    size = whole * fraction
    steps = 1 if fraction == 1 and width == height else 3
    across = np.linspace(size / 2, width - size / 2, steps if width > size else 1)
    down = np.linspace(size / 2, height - size / 2, steps if height > size else 1)
    boxes += [_square(x, y, size) for y in down for x in across]
  usable = [box for box in boxes if _size(box) >= decode.SMALLEST]
  return list(dict.fromkeys(usable)) or [decode.crop_box(width, height, ())]


def _square(across: float, down: float, size: float) -> Box:
  left, top, size = round(across - size / 2), round(down - size / 2), int(size)
  return left, top, left + size, top + size


def reconstruction_error(model: Any) -> Callable[[np.ndarray], np.ndarray]:
  """How much of a picture's contrast a model leaves unexplained, where it sees a surface.

  0 is a perfect reconstruction, 1 that of one colour; infinite for a picture without contrast, which any
  model explains.
  """
  def error(pictures: UInt8[np.ndarray, "K S S 3"]) -> np.ndarray:
    images = transforms.to_range(transforms.to_channels(pictures, model.element.shape[-1]))
    parts = model.decompose(images)
    inside = np.asarray(parts["mask"])[..., None] > 0
    missing = np.where(inside, np.abs(np.asarray(parts["reconstruction"]) - images), 0).mean((1, 2, 3))
    contrast = np.abs(images - images.mean((1, 2), keepdims=True))
    contrast = np.where(inside, contrast, 0).mean((1, 2, 3))
    return np.where(contrast > FLAT, missing / np.maximum(contrast, FLAT), np.inf)

  return error
