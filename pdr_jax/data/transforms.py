"""What is done to single keys of a batch: decoding and size, channels, range, mirroring. NumPy only."""

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from pdr_jax.data import decode
from pdr_jax.data.dataset import Arrays
from pdr_jax.elements import Element, ElementSpec

RANGE = (-1.0, 1.0)  # of pictures, where nobody asks for another


def picture(
  data: bytes | np.ndarray, side: int, crop: tuple[int, ...], channels: int
) -> UInt8[np.ndarray, "S S C"]:
  """An encoded file, or pixels, as a square picture of 1 or 3 channels. Raises `decode.BadImage`."""
  return to_channels(decode.decode_image(data, side, crop), channels)


def to_channels(pixels: UInt8[np.ndarray, "*N D"], channels: int) -> UInt8[np.ndarray, "*N C"]:
  """Pictures of 1 or 3 channels with `channels` of them.

  Grey is the luminance (ITU-R 601-2), rounded as Pillow does.
  """
  if pixels.shape[-1] == channels:
    return pixels
  if channels == 3:
    return np.repeat(pixels, 3, axis=-1)
  red, green, blue = (pixels[..., c].astype(np.uint32) for c in range(3))
  luminance = (
    red * 19595 + green * 38470 + blue * 7471 + 0x8000
  ) >> 16  # the weights sum to 2^16: grey stays as it is
  return luminance.astype(np.uint8)[..., None]


def to_range(
  pixels: UInt8[np.ndarray, "..."], bounds: tuple[float, float] = RANGE
) -> Float32[np.ndarray, "..."]:
  """uint8 as float32 from the lower to the upper bound; 0 and 255 reach (-1, 1) and (0, 1) exactly."""
  low, high = bounds
  values = pixels.astype(np.float32)
  values /= np.float32(255 / (high - low))
  values += np.float32(low)
  return values


def mirror(
  pixels: UInt8[np.ndarray, "n *T H W C"], chosen: Bool[np.ndarray, " n"]
) -> UInt8[np.ndarray, "n *T H W C"]:
  """Pictures or clips of any number of channels, the chosen ones flipped left to right."""
  pixels = np.array(pixels, order="C")
  # A pixel as one element: to reverse the columns is then several times faster.
  whole = pixels.view(f"V{pixels.shape[-1]}")[..., 0]
  whole[chosen] = whole[chosen][..., ::-1]
  return pixels


def to_spec(batch: Arrays, spec: ElementSpec) -> Arrays:
  """Loaded arrays as batches have them: pictures, which come as uint8, in the range that `spec` asks for."""
  return {key: _to_element(array, spec[key]) for key, array in batch.items()}


def _to_element(array: np.ndarray, element: Element) -> np.ndarray:
  stored = element.dtype == "float32" and array.dtype == np.uint8
  return to_range(array, element.range or RANGE) if stored else array
