"""Transforms of single keys, against NumPy and Pillow: range, mirroring, channels."""

import numpy as np
import pytest
from PIL import Image

from pdr_jax.data import transforms
from pdr_jax.elements import Element

EVERY_BYTE = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 1.0)])
def test_a_range_is_reached_at_both_ends(bounds):
  low, high = bounds
  values = transforms.to_range(EVERY_BYTE, bounds)
  assert values[0] == low and values[255] == high and values.dtype == np.float32
  expected = low + (high - low) * EVERY_BYTE.astype(np.float64) / 255
  np.testing.assert_allclose(values, expected, atol=3e-7)  # three float32 roundings of numbers up to 2


def test_pixels_are_the_floats_that_they_always_were():
  np.testing.assert_array_equal(
    transforms.to_range(EVERY_BYTE), EVERY_BYTE.astype(np.float32) / np.float32(127.5) - 1
  )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("frames", [None, 1, 5])
def test_the_chosen_ones_are_turned_left_to_right_and_nothing_else(channels, frames):
  shape = (6, 7, 9, channels) if frames is None else (6, frames, 7, 9, channels)
  pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
  chosen = np.array([True, False, True, True, False, False])
  before = pixels.copy()
  turned = transforms.mirror(pixels, chosen)
  expected = np.where(chosen.reshape(-1, *[1] * (len(shape) - 1)), np.flip(pixels, axis=-2), pixels)
  np.testing.assert_array_equal(turned, expected)
  np.testing.assert_array_equal(pixels, before)
  np.testing.assert_array_equal(transforms.mirror(pixels[..., ::-1, :], chosen), np.flip(expected, axis=-2))


def test_grey_is_pillows_luminance_and_colour_repeats_grey():
  colours = np.random.default_rng(1).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)
  grey = transforms.to_channels(colours, 1)
  expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in colours])[..., None]
  np.testing.assert_array_equal(grey, expected)
  again = transforms.to_channels(grey, 3)
  np.testing.assert_array_equal(again, np.repeat(expected, 3, axis=-1))
  np.testing.assert_array_equal(
    transforms.to_channels(again, 1), grey
  )  # grey in three channels stays as it is
  assert transforms.to_channels(grey, 1) is grey


@pytest.mark.parametrize("side", [8, 20, 33])
def test_a_picture_has_the_side_and_the_channels_that_are_asked_for(side):
  pixels = np.random.default_rng(2).integers(0, 256, (28, 28), dtype=np.uint8)
  grey, colour = (transforms.picture(pixels, side, (), channels) for channels in (1, 3))
  assert grey.shape == (side, side, 1) and colour.shape == (side, side, 3)
  np.testing.assert_array_equal(np.repeat(grey, 3, axis=-1), colour)


def test_only_pictures_change_their_range():
  batch = {"image": EVERY_BYTE[None], "segmentation": EVERY_BYTE[None], "depth": np.ones((1, 2), np.float32)}
  spec = {
    "image": Element((256,), "float32", "image", (0.0, 1.0)),
    "segmentation": Element((256,), "uint8", "segmentation"),
    "depth": Element((2,), "float32", "depth"),
  }
  given = transforms.to_spec(batch, spec)
  assert {key: (given[key].dtype.name, given[key].max()) for key in given} == {
    "image": ("float32", 1.0),
    "segmentation": ("uint8", 255),
    "depth": ("float32", 1.0),
  }
