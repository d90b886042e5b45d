"""Decoding of pictures, checked against Pillow, and against NumPy by hand."""

import io

import numpy as np
import pytest
from PIL import Image
from support.image_files import encoded, picture

from pdr_jax.data import decode


def area_means(pixels, side):
  """Mean over the exact (fractional) area that each output pixel covers, in float64."""
  n = pixels.shape[0]
  edges = np.linspace(0, n, side + 1)
  overlap = np.minimum(edges[1:, None], np.arange(n)[None] + 1) - np.maximum(
    edges[:-1, None], np.arange(n)[None]
  )
  weights = np.maximum(overlap, 0) * side / n
  return np.einsum("ih,hwc,jw->ijc", weights, pixels.astype(np.float64), weights, optimize=True)


def smooth_picture(seed, height, width):
  return np.asarray(Image.fromarray(picture(seed, 8, 8)).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("size", [32, 45, 89, 200])
def test_shrinking_is_close_to_area_means_and_does_not_alias(size):
  smooth = smooth_picture(0, size, size)
  assert np.abs(decode.decode_image(encoded(smooth), 32) - area_means(smooth, 32)).mean() < 1.5
  if size >= 64:
    checks = np.repeat(np.indices((size, size)).sum(0)[..., None] % 2 * 255, 3, 2).astype(np.uint8)
    assert decode.decode_image(encoded(checks), 32)[2:-2, 2:-2].std() < 10  # nearest neighbour: 127


def test_centre_square_and_crop():
  pixels = picture(1, 32, 50)
  np.testing.assert_array_equal(decode.decode_image(encoded(pixels), 32), pixels[:, 9:41])
  np.testing.assert_array_equal(decode.decode_image(encoded(pixels), 16, (3, 5, 19, 21)), pixels[5:21, 3:19])


def test_enlarging_is_smooth():
  ramp = np.repeat(np.linspace(0, 240, 16).astype(np.uint8)[None, :, None], 16, 0).repeat(3, 2)
  row = decode.decode_image(encoded(ramp), 64)[32, :, 0].astype(int)
  assert np.diff(row).max() <= 6  # nearest neighbour would step by 16


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "WEBP", "JPEG"])
def test_formats(kind):
  pixels = np.full((32, 32, 3), (200, 100, 50), np.uint8)
  options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
  assert np.abs(decode.decode_image(encoded(pixels, kind, **options), 32).astype(int) - pixels).max() <= (
    3 if kind == "JPEG" else 0
  )


def test_grey_pgm_and_16_bits():
  grey = picture(2)[..., 0]
  three = np.repeat(grey[..., None], 3, 2)
  np.testing.assert_array_equal(decode.decode_image(encoded(grey, "PPM"), 32), three)  # P5
  wide = encoded(grey.astype(np.uint16) * 257)
  np.testing.assert_array_equal(decode.decode_image(wide, 32), three)  # 16-bit PNG
  pgm16 = b"P5 32 32 65535\n" + (grey.astype(">u2") * 257).tobytes()
  np.testing.assert_array_equal(decode.decode_image(pgm16, 32), three)  # 16-bit PGM
  ascii_pgm = ("P2\n32 32\n255\n" + " ".join(map(str, grey.ravel()))).encode()
  np.testing.assert_array_equal(decode.decode_image(ascii_pgm, 32), three)


def test_alpha_is_composited_over_white():
  pixels = np.zeros((32, 32, 4), np.uint8)
  pixels[..., 0], pixels[:, 16:, 3] = 255, 255
  pixels[:, 8:16, 3] = 51  # a fifth
  out = decode.decode_image(encoded(pixels), 32)
  assert (
    (out[:, :8] == 255).all()
    and (out[:, 16:] == (255, 0, 0)).all()
    and (out[:, 8:16] == (255, 204, 204)).all()
  )


def test_palette_with_transparency_and_cmyk():
  image = Image.fromarray(np.repeat(np.arange(32, dtype=np.uint8)[None], 32, 0) // 16).convert("P")
  image.putpalette([0, 0, 0, 10, 20, 30])
  buffer = io.BytesIO()
  image.save(buffer, "PNG", transparency=0)
  out = decode.decode_image(buffer.getvalue(), 32)
  assert (out[:, :16] == 255).all() and (out[:, 16:] == (10, 20, 30)).all()
  buffer = io.BytesIO()
  Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(buffer, "JPEG")
  assert (np.abs(decode.decode_image(buffer.getvalue(), 32)[16, 16].astype(int) - (255, 0, 0)) < 12).all()


@pytest.mark.parametrize(
  "orientation, turned",
  [
    (1, lambda x: x),
    (2, lambda x: x[:, ::-1]),
    (3, lambda x: x[::-1, ::-1]),
    (4, lambda x: x[::-1]),
    (5, lambda x: x.transpose(1, 0, 2)),
    (6, lambda x: np.rot90(x, -1)),
    (7, lambda x: x[::-1, ::-1].transpose(1, 0, 2)),
    (8, lambda x: np.rot90(x, 1)),
  ],
)
def test_exif_orientation_and_crop_in_the_turned_image(orientation, turned):
  pixels = picture(3, 40, 64)
  exif = Image.Exif()
  exif[0x0112] = orientation
  data = encoded(pixels, exif=exif.tobytes())
  upright = turned(pixels)
  np.testing.assert_array_equal(decode.decode_image(data, 16, (5, 9, 21, 25)), upright[9:25, 5:21])
  decode.check_header(io.BytesIO(data), (0, 0, upright.shape[1], upright.shape[0]))
  with pytest.raises(decode.CropOutside):
    decode.check_header(io.BytesIO(data), (0, 0, upright.shape[1] + 1, 20))


def test_large_jpeg_drafted_agrees_with_the_full_decode():
  smooth = smooth_picture(4, 800, 1000)
  data = encoded(smooth, "JPEG", quality=95)
  full = area_means(np.asarray(Image.open(io.BytesIO(data)).crop((100, 50, 740, 690))), 32)
  assert np.abs(decode.decode_image(data, 32, (100, 50, 740, 690)) - full).mean() < 1.5


def test_pixels_as_arrays():
  pixels = picture(5)
  np.testing.assert_array_equal(decode.decode_image(pixels, 32), pixels)
  np.testing.assert_array_equal(decode.decode_image(pixels[..., :1], 32), np.repeat(pixels[..., :1], 3, 2))
  np.testing.assert_array_equal(decode.decode_image(pixels.astype(np.uint16) * 257, 32), pixels)


@pytest.mark.parametrize(
  "data, reason",
  [
    (b"", "empty"),
    (b"not an image at all", "not a readable image"),
    (encoded(picture(0))[:200], "corrupt"),
    (encoded(picture(0), "JPEG")[:300], "corrupt"),
    (encoded(picture(0, 15, 40)), r"smaller than 16 pixels \(40x15\)"),
    (encoded(picture(0), "ICO"), "not a readable image"),
    (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "."),
    (b"P5 99999 99999 255\n", "too many"),
  ],
)
def test_bad_bytes_raise_bad_image_only(data, reason):
  with pytest.raises(decode.BadImage, match=reason):
    decode.decode_image(data, 32)


def test_no_bytes_crash_the_decoder():
  good, rng = (
    [encoded(picture(0), kind) for kind in ("PNG", "JPEG", "BMP", "PPM", "WEBP")],
    np.random.default_rng(0),
  )
  for trial in range(300):
    data = bytearray(good[trial % 5])
    for _ in range(rng.integers(1, 30)):
      data[rng.integers(len(data))] = rng.integers(256)
    try:
      assert decode.decode_image(bytes(data), 32).shape == (32, 32, 3)
    except decode.BadImage as error:
      assert "\n" not in str(error)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize(
  "exif", [b"Exif\0\0not a header", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"", b"\xff" * 20]
)
def test_malformed_exif_is_no_reason(kind, exif):
  options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
  pixels = smooth_picture(3, 40, 40)
  data = encoded(pixels, kind, exif=exif, **options)
  decode.check_header(io.BytesIO(data))
  without = decode.decode_image(encoded(pixels, kind, **options), 40)
  np.testing.assert_array_equal(decode.decode_image(data, 40), without)


def test_first_frames_and_first_pages():
  first, second = picture(1), picture(2)
  for kind in ("GIF", "TIFF", "WEBP", "PNG"):
    buffer = io.BytesIO()
    Image.fromarray(first).save(
      buffer, kind, save_all=True, append_images=[Image.fromarray(second)], lossless=True
    )
    shown = decode.decode_image(buffer.getvalue(), 32).astype(int)
    assert np.abs(shown - first).mean() < (30 if kind == "GIF" else 1e-9)  # GIF has 256 colours


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (b"Pf\n32 32\n-1.0\n" + np.zeros((32, 32), "<f4").tobytes(), "floats, whose range nobody knows"),
    (encoded(np.full((32, 32), 0.5, np.float32), "TIFF"), "floats, whose range nobody knows"),
    (encoded(np.full((32, 32), 70_000, np.int32), "TIFF"), "32-bit integers, whose range nobody knows"),
  ],
)
def test_values_without_a_range_are_refused(data, reason):
  with pytest.raises(decode.BadImage, match=reason):
    decode.decode_image(data, 32)
