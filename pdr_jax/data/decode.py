"""Bytes of an image file -> [S, S, 3] uint8, or one reason why not.

Orientation, grey, alpha, 16 bits, crop, antialiased resize.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError

from pdr_jax.errors import UserError

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".pgm", ".ppm", ".pbm", ".pnm", ".bmp", ".webp", ".gif",
    ".tif", ".tiff",
)
# The only decoders that a file may reach, whatever its name. Of several frames or pages the first is read.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "WEBP", "GIF", "TIFF")
UNREAD = (
    ".heic", ".heif", ".avif", ".svg", ".psd", ".dng", ".cr2", ".nef", ".arw", ".jp2", ".exr", ".hdr", ".pfm",
    ".tga",
)
SMALLEST = 16             # pixels; a file with a shorter side is a thumbnail or an icon
LARGEST = 100_000_000     # pixels; beyond it a file is taken for a decompression bomb
_ORIENTATION = 0x0112     # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


class BadImage(Exception):
  """This file cannot be used; the message is the reason, a few words."""


class CropOutside(BadImage):
  """The crop does not lie inside this image."""


def check_crop(crop: Sequence[int]) -> tuple[int, ...]:
  """`data.crop` as a tuple, empty or (left, top, right, bottom). Raises UserError."""
  crop = tuple(crop)
  if crop and not (len(crop) == 4 and 0 <= crop[0] < crop[2] and 0 <= crop[1] < crop[3]):
    wanted = "(left, top, right, bottom) in pixels with left < right and top < bottom"
    raise UserError(f"data.crop={crop} is not {wanted}")
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


def _orientation(image: Image.Image) -> int:
  """How EXIF says that the stored pixels are turned; 1 (upright) without EXIF.

  EXIF is a hint: where it is malformed, the pixels are taken as they are.
  """
  if image.format == "TIFF":  # Pillow turns these itself, size and pixels
    return 1
  try:
    value = image.getexif().get(_ORIENTATION, 1)
  except Exception:  # its parser raises anything: SyntaxError, struct.error, ...
    return 1
  return value if value in _TURNS else 1


def _upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
  return size[::-1] if orientation in _SIDEWAYS else size


def _open(file: io.BufferedIOBase) -> tuple[Image.Image, tuple[int, int]]:
  """The undecoded image and its (width, height) as it is meant to be looked at. Raises BadImage."""
  image = Image.open(file, formats=FORMATS)
  width, height = image.size
  if width * height > LARGEST:
    raise BadImage(f"{width}x{height} pixels are too many")
  # Pillow decodes a whole PNG in search of EXIF after the pixels: that rare case is met in decode_image.
  late = image.format == "PNG" and "exif" not in image.info
  width, height = image.size if late else _upright(image.size, _orientation(image))
  if min(width, height) < SMALLEST:
    raise BadImage(f"smaller than {SMALLEST} pixels ({width}x{height})")
  return image, (width, height)


def _to_rgb(image: Image.Image) -> Image.Image:
  """8-bit RGB: 16-bit grey is scaled, alpha is composited over white.

  Raises BadImage for values without a known range.
  """
  if image.mode == "F":
    raise BadImage("its values are floats, whose range nobody knows: save it with 8 or 16 bits")
  if image.mode.startswith("I"):
    grey = np.asarray(image).astype(np.float64)
    if grey.min() < 0 or grey.max() > 65535:
      raise BadImage("its values are 32-bit integers, whose range nobody knows: save it with 8 or 16 bits")
    image = Image.fromarray(np.clip(np.rint(grey / 257), 0, 255).astype(np.uint8))
  if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    image = Image.alpha_composite(white, image)
  return image if image.mode == "RGB" else image.convert("RGB")


def _resized(image: Image.Image, size: tuple[int, int], crop: tuple[int, ...], side: int) -> np.ndarray:
  """[side, side, 3] uint8.

  `size` is what the crop's pixels count in; the image itself may have been decoded at a fraction of it.
  """
  box = crop_box(*size, crop)
  scale = (image.width / size[0], image.height / size[1])
  box = tuple(value * scale[i % 2] for i, value in enumerate(box))
  shrinks = box[2] - box[0] >= side and box[3] - box[1] >= side
  # Both filters widen with the scale, so nothing aliases. HAMMING is about as sharp as the mean over the
  # covered area, and unlike Pillow's BOX it does not count whole source pixels, which at 89 -> 64 would make
  # every third pixel a mean of two and the others a copy.
  sharp = Image.Resampling.HAMMING if shrinks else Image.Resampling.BICUBIC
  return np.asarray(image.resize((side, side), sharp, box=box))


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
  """Decodes and resizes one image; of several frames or pages, the first.

  Args:
    data: an encoded file, or pixels [H, W] or [H, W, 1 | 3 | 4], uint8 or uint16.
    side: output side S, pixels.
    crop: (left, top, right, bottom) in pixels of the source as it is meant to be looked at (after EXIF
      orientation); empty: the centre square. A crop that is not square is squashed.

  Returns: [S, S, 3] uint8, RGB.
  Raises: BadImage (CropOutside where the crop is at fault).
  """
  try:
    decode = _decode_pixels if isinstance(data, np.ndarray) else _decode_file
    return decode(data, side, crop)
  except Exception as error:  # decoders raise anything on hostile files: OSError, SyntaxError, ...
    raise _reason(error) from error


def _decode_pixels(pixels: np.ndarray, side: int, crop: tuple[int, ...]) -> np.ndarray:
  if pixels.dtype == np.uint16 and pixels.ndim == 3:
    pixels = np.rint(pixels / 257).astype(np.uint8)
  image = Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels)
  if min(image.size) < SMALLEST:
    raise BadImage(f"smaller than {SMALLEST} pixels ({image.width}x{image.height})")
  return _resized(_to_rgb(image), image.size, crop, side)


def _decode_file(data: bytes, side: int, crop: tuple[int, ...]) -> np.ndarray:
  if not data:
    raise BadImage("empty file")
  image, size = _open(io.BytesIO(data))
  stored = image.size
  if image.format in ("JPEG", "MPO"):
    # A large one is decoded at 1/2, 1/4 or 1/8 (its decoder averages), never below twice what is needed.
    left, top, right, bottom = crop_box(*size, crop)
    shrink = min(right - left, bottom - top) / (2 * side)
    if shrink >= 2:
      image.draft(None, (int(image.width / shrink), int(image.height / shrink)))
  image.load()  # raises on truncated files
  orientation = _orientation(image)
  upright = image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
  return _resized(_to_rgb(upright), _upright(stored, orientation), crop, side)


def check_header(file: io.BufferedIOBase, crop: tuple[int, ...] = ()) -> tuple[int, int]:
  """Width and height, from no more than the header.

  Raises BadImage where the file is no image, too small, too large, or the crop lies outside.
  """
  try:
    _, size = _open(file)
    crop_box(*size, crop)
    return size
  except Exception as error:
    raise _reason(error) from error
