"""Bytes of an image file -> [S, S, 3] uint8: orientation, grey, alpha, 16 bits, crop, antialiased resize; or one reason why not."""

import io
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pdr_jax.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".pgm", ".ppm", ".bmp", ".webp")
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "WEBP")  # the only decoders that a file may reach, whatever its name
SMALLEST = 16             # pixels; a file with a shorter side is a thumbnail or an icon
LARGEST = 100_000_000     # pixels; beyond it a file is taken for a decompression bomb
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


class BadImage(Exception):
  """This file cannot be used; the message is the reason, a few words."""


class CropOutside(BadImage):
  """The crop does not lie inside this image."""


def check_crop(crop: Sequence[int]) -> tuple[int, ...]:
  """`data.crop` as a tuple, empty or (left, top, right, bottom). Raises UserError."""
  crop = tuple(crop)
  if crop and not (len(crop) == 4 and 0 <= crop[0] < crop[2] and 0 <= crop[1] < crop[3]):
    raise UserError(f"data.crop={crop} is not (left, top, right, bottom) in pixels with left < right and top < bottom")
  return crop


def crop_box(width: int, height: int, crop: tuple[int, ...]) -> tuple[int, int, int, int]:
  """The rectangle (left, top, right, bottom) that is kept: the crop, or the centre square."""
  if crop:
    left, top, right, bottom = crop
    if right > width or bottom > height:
      raise CropOutside(f"the crop {tuple(crop)} reaches outside of its {width}x{height} pixels")
    return left, top, right, bottom
  side = min(width, height)
  left, top = (width - side) // 2, (height - side) // 2
  return left, top, left + side, top + side


def _open(file: BinaryIO) -> tuple[Image.Image, tuple[int, int]]:
  """The undecoded image and its (width, height) as it is meant to be looked at. Raises BadImage."""
  image = Image.open(file, formats=FORMATS)
  width, height = image.size
  if width * height > LARGEST:
    raise BadImage(f"{width}x{height} pixels are too many")
  # Pillow decodes a whole PNG in search of EXIF after the pixels: that rare case is met in decode_image.
  if (image.format != "PNG" or "exif" in image.info) and image.getexif().get(0x0112) in _SIDEWAYS:
    width, height = height, width
  if min(width, height) < SMALLEST:
    raise BadImage(f"smaller than {SMALLEST} pixels ({width}x{height})")
  return image, (width, height)


def _to_rgb(image: Image.Image) -> Image.Image:
  """8-bit RGB: 16-bit grey is scaled, alpha is composited over white."""
  if image.mode.startswith("I"):
    grey = np.asarray(image).astype(np.float64)
    image = Image.fromarray(np.clip(np.rint(grey / 257), 0, 255).astype(np.uint8))
  if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    image = Image.alpha_composite(white, image)
  return image if image.mode == "RGB" else image.convert("RGB")


def _resized(image: Image.Image, size: tuple[int, int], crop: tuple[int, ...], side: int) -> np.ndarray:
  """[side, side, 3] uint8. `size` is what the crop's pixels count in; the image itself may have been decoded at a fraction of it."""
  box = crop_box(*size, crop)
  scale = (image.width / size[0], image.height / size[1])
  box = tuple(value * scale[i % 2] for i, value in enumerate(box))
  shrinks = box[2] - box[0] >= side and box[3] - box[1] >= side
  # Both widen with the scale, so nothing aliases. HAMMING is about as sharp as the mean over the covered area, and unlike Pillow's BOX
  # it does not count whole source pixels, which at 89 -> 64 would make every third pixel a mean of two and the others a copy.
  image = image.resize((side, side), Image.Resampling.HAMMING if shrinks else Image.Resampling.BICUBIC, box=box)
  return np.asarray(image)


def _reason(error: Exception) -> BadImage:
  if isinstance(error, BadImage):
    return error
  if isinstance(error, UnidentifiedImageError):
    return BadImage("not a readable image")
  if isinstance(error, Image.DecompressionBombError):
    return BadImage("its pixels are too many")
  text = (str(error).splitlines() or [""])[0]
  return BadImage(f"corrupt ({text})" if text else f"corrupt ({type(error).__name__})")


def decode_image(data: bytes | np.ndarray, side: int, crop: tuple[int, ...] = ()) -> np.ndarray:
  """Decodes and resizes one image.

  Args:
    data: an encoded file, or pixels [H, W] or [H, W, 1 | 3 | 4], uint8 or uint16.
    side: output side S, pixels.
    crop: (left, top, right, bottom) in pixels of the source as it is meant to be looked at (after EXIF orientation); empty: the centre
      square. A crop that is not square is squashed.

  Returns: [S, S, 3] uint8, RGB.
  Raises: BadImage (CropOutside where the crop is at fault).
  """
  try:
    if isinstance(data, np.ndarray):
      if data.dtype == np.uint16 and data.ndim == 3:
        data = np.rint(data / 257).astype(np.uint8)
      image = Image.fromarray(data[..., 0] if data.ndim == 3 and data.shape[-1] == 1 else data)
      if min(image.size) < SMALLEST:
        raise BadImage(f"smaller than {SMALLEST} pixels ({image.width}x{image.height})")
      return _resized(_to_rgb(image), image.size, crop, side)
    if not data:
      raise BadImage("empty file")
    image, size = _open(io.BytesIO(data))
    left, top, right, bottom = crop_box(*size, crop)
    # A large JPEG is decoded at 1/2, 1/4 or 1/8 (its decoder averages), never below twice the size that is needed.
    shrink = min(right - left, bottom - top) / (2 * side)
    if shrink >= 2:
      image.draft(None, (int(image.width / shrink), int(image.height / shrink)))
    drafted = image.format == "JPEG"
    image.load()  # raises on truncated files
    image = ImageOps.exif_transpose(image)
    return _resized(_to_rgb(image), size if drafted else image.size, crop, side)
  except Exception as error:  # decoders raise anything on hostile files: OSError, SyntaxError, struct.error, ValueError, ...
    raise _reason(error) from error


def check_header(file: BinaryIO, crop: tuple[int, ...] = ()) -> None:
  """Reads no more than the header. Raises BadImage where the file is no image, too small, too large, or the crop lies outside."""
  try:
    _, size = _open(file)
    crop_box(*size, crop)
  except Exception as error:
    raise _reason(error) from error
