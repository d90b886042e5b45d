"""SimCLR: the augmentations, NT-Xent, and what every baseline must satisfy.

The augmentations are compared with naive loops and `colorsys`, and their ranges are checked.
"""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.baseline_checks import (
  B,
  S,
  compiled,
  four_devices_equal_one,
  fresh,
  images,
  losses_of_overfit,
  tiny,
  trains_and_resumes,
  validation_ignores_padding,
)
from support.tolerances import mean_tolerance, rounding

from pdr_jax import methods
from pdr_jax.config_checks import validate
from pdr_jax.errors import UserError
from pdr_jax.methods.shared import augment


@pytest.fixture(scope="module")
def method():
  return methods.create(tiny("simclr"))


@pytest.fixture(scope="module")
def many():
  """The draws of 4,000 images."""
  config = tiny("simclr", simclr__color=1.0)
  drawn = jax.jit(lambda index: augment.draw(jax.random.key(0), index, config.simclr))(jnp.arange(4000))
  return {
    name: np.asarray(value, np.float64 if value.dtype != bool else bool) for name, value in drawn.items()
  }


views = compiled(lambda rng, pictures: augment.views(rng, pictures, None, tiny("simclr").simclr))

NEUTRAL = dict(
  top=0.0,
  left=0.0,
  height=1.0,
  width=1.0,
  flip=False,
  grey=False,
  brightness=1.0,
  contrast=1.0,
  saturation=1.0,
  hue=0.0,
)


COUNT = 64  # pictures of `augmented`
apply = compiled(augment.apply)


def augmented(pictures, drawn):
  """`augment.apply` to up to 64 pictures, by one program for all tests."""
  count = len(pictures)

  def padded(value):
    value = np.asarray(value, bool if np.asarray(value).dtype == bool else np.float32)
    return np.pad(value, [(0, COUNT - count)] + [(0, 0)] * (value.ndim - 1), mode="edge")

  return np.asarray(apply(padded(pictures), {name: padded(value) for name, value in drawn.items()}))[:count]


def draws(**changes):
  return {name: np.asarray(changes.get(name, value))[None] for name, value in NEUTRAL.items()}


def photo(seed=4):
  return np.random.default_rng(seed).uniform(-1, 1, (S, S, 3)).astype(np.float32)


# ---------------------------------------------------------------- what is drawn


def test_draws_stay_in_their_ranges_and_fill_them(many):
  area, aspect = many["height"] * many["width"], many["width"] / many["height"]
  for start, size in (("top", "height"), ("left", "width")):
    # a product, two sums
    assert (many[start] >= 0).all() and (many[start] + many[size] <= 1 + rounding(4)).all()
    assert many[size].max() <= 1
  assert 0.079 < area.min() < 0.1 and area.max() > 0.97
  # an exponential, products, roots and a quotient
  assert 3 / 4 - rounding(16) < aspect.min() < 0.76 and 1.31 < aspect.max() < 4 / 3 + rounding(16)
  jittered = many["hue"] != 0
  for name, low, high in (
    ("brightness", 0.2, 1.8),
    ("contrast", 0.2, 1.8),
    ("saturation", 0.2, 1.8),
    ("hue", -0.2, 0.2),
  ):
    values = many[name][jittered]
    edge = 0.01 * (high - low)
    assert (
      low <= values.min() < low + edge
      and high - edge < values.max() <= high
      and abs(values.mean() - (low + high) / 2) < 2 * edge
    )
    assert (many[name][~jittered] == (0 if name == "hue" else 1)).all()
  for share, expected in ((jittered.mean(), 0.8), (many["flip"].mean(), 0.5), (many["grey"].mean(), 0.2)):
    assert abs(share - expected) < 4 * np.sqrt(0.25 / 4000)


def test_area_is_uniform_where_no_edge_was_cut(many):
  """Below 3/4 of the picture no crop is cut.

  There the areas' distribution is uniform (Kolmogorov and Smirnov's distance).
  """
  area = np.sort(many["height"] * many["width"])
  area = area[area < 0.74]
  uniform = (area - 0.08) / (0.74 - 0.08)
  assert np.abs(uniform - np.arange(len(area)) / len(area)).max() < 1.63 / np.sqrt(len(area))


@pytest.mark.parametrize("crop", [0.5, 0.75, 0.9, 0.97, 1.0])
def test_a_crop_keeps_the_share_that_is_asked_for(crop):
  """Whatever its aspect; of 1 it is the whole picture."""
  settings = tiny("simclr", simclr__crop=crop).simclr
  drawn = jax.jit(lambda index: augment.draw(jax.random.key(0), index, settings))(jnp.arange(4000))
  height, width = (np.asarray(drawn[name], np.float64) for name in ("height", "width"))
  area, longest = height * width, np.maximum(height, width)
  # an exponential, products, roots
  assert crop - rounding(16) <= area.min() < crop + 0.01 and area.max() > 0.97 and longest.max() <= 1
  if crop == 1:
    assert (height == 1).all() and (width == 1).all()


def test_draws_are_the_images_own():
  config = tiny("simclr")
  draw = compiled(lambda index: augment.draw(jax.random.key(2), index, config.simclr))
  whole, part = draw(jnp.arange(8)), draw(jnp.arange(5, 8))
  for name in whole:
    np.testing.assert_array_equal(part[name], whole[name][5:])
  assert len(np.unique(whole["top"])) == 8
  first, second = views(jax.random.key(2), np.stack([photo()] * B))
  assert all(
    np.abs(np.asarray(a - b)).max() > 0.05
    for a, b in ((first[0], second[0]), (first[0], first[1]), (second[0], second[1]))
  )


# ---------------------------------------------------------------- what it does


def naive_crop(image, top, left, height, width):
  """Bilinear, pixel by pixel: centres at half-integers, the picture's edge repeated."""
  out = np.zeros((S, S, 3))
  for row in range(S):
    for column in range(S):
      y, x = top * S + (row + 0.5) * height - 0.5, left * S + (column + 0.5) * width - 0.5
      y0, x0 = int(np.floor(y)), int(np.floor(x))
      for dy in (0, 1):
        for dx in (0, 1):
          weight = (y - y0 if dy else 1 - y + y0) * (x - x0 if dx else 1 - x + x0)
          out[row, column] += weight * image[np.clip(y0 + dy, 0, S - 1), np.clip(x0 + dx, 0, S - 1)]
  return out


def naive_colours(image, brightness, contrast, saturation, hue, grey):
  """Pixel by pixel, in [0, 1]."""
  def luma(pixel):
    return 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]

  image = np.clip(image * brightness, 0, 1)
  mean = np.mean([luma(pixel) for row in image for pixel in row])
  image = np.clip(mean + contrast * (image - mean), 0, 1)
  out = np.zeros_like(image)
  for row in range(S):
    for column in range(S):
      pixel = np.clip(
        luma(image[row, column]) + saturation * (image[row, column] - luma(image[row, column])), 0, 1
      )
      h, s, v = colorsys.rgb_to_hsv(*pixel)
      pixel = colorsys.hsv_to_rgb((h + hue) % 1, s, v)
      out[row, column] = [luma(pixel)] * 3 if grey else pixel
  return out


@pytest.mark.parametrize(
  "crop", [(0.0, 0.0, 1.0, 1.0), (0.0, 0.5, 0.5, 0.5), (0.13, 0.41, 0.31, 0.4), (0.7, 0.0, 0.3, 0.35)]
)
def test_crop_is_the_naive_bilinear(crop):
  drawn = draws(**dict(zip(("top", "left", "height", "width"), crop, strict=True)))
  found = augmented(photo()[None], drawn)[0]
  # eight roundings of coordinates of up to 32, by differences of pixels of up to 2, on both axes
  off = 2 * 2 * rounding(8, S)
  np.testing.assert_allclose(found, naive_crop(photo().astype(np.float64), *crop), rtol=0, atol=off)


@pytest.mark.parametrize("change", [
    dict(brightness=0.3), dict(brightness=1.7), dict(contrast=0.2), dict(contrast=1.8),
    dict(saturation=0.1), dict(saturation=1.8), dict(hue=0.2), dict(hue=-0.17), dict(hue=0.5),
    dict(grey=True), dict(brightness=1.4, contrast=1.5, saturation=0.6, hue=0.1),
], ids=str)  # fmt: skip
def test_colours_are_the_naive_ones(change):
  drawn = draws(**change)
  factors = {name: float(drawn[name][0]) for name in ("brightness", "contrast", "saturation", "hue", "grey")}
  found = augmented(photo()[None], drawn)[0]
  # a mean over the picture, then some two dozen operations on numbers up to 2, in half the range
  off = 2 * (mean_tolerance(S * S) + rounding(24, 2))
  expected = 2 * naive_colours((1 + photo().astype(np.float64)) / 2, **factors) - 1
  np.testing.assert_allclose(found, expected, rtol=0, atol=off)


def test_neutral_draw_flip_grey_pixels_and_range(many):
  pictures = np.stack(
    [
      photo(),
      np.full((S, S, 3), 0.3, np.float32),
      -np.ones((S, S, 3), np.float32),
      np.ones((S, S, 3), np.float32),
    ]
  )

  def together(drawn):
    return {name: np.broadcast_to(value, 4) for name, value in drawn.items()}

  off = rounding(8, 6)  # the hue in sixths of a turn
  np.testing.assert_allclose(augmented(pictures, together(draws())), pictures, rtol=0, atol=off)
  flipped = augmented(pictures, together(draws(flip=True)))
  np.testing.assert_allclose(flipped, pictures[:, :, ::-1], rtol=0, atol=off)
  turned = augmented(pictures, together(draws(hue=0.3)))
  np.testing.assert_allclose(turned[1:], pictures[1:], rtol=0, atol=off)  # grey has no hue
  assert np.abs(turned[0] - pictures[0]).max() > 0.5
  some = {name: value[:COUNT] for name, value in many.items()}
  found = augmented(np.stack([photo(seed) for seed in range(COUNT)]), some)
  assert np.isfinite(found).all() and np.abs(found).max() <= 1 + off


# ---------------------------------------------------------------- the loss


def naive_nt_xent(first, second, temperature):
  """Equation 1, one anchor at a time; the mean over each image's two anchors."""
  both = np.concatenate([first, second]).astype(np.float64)
  both /= np.linalg.norm(both, axis=1, keepdims=True)
  count, losses = len(first), []
  for i in range(2 * count):
    others = [np.exp(both[i] @ both[k] / temperature) for k in range(2 * count) if k != i]
    losses.append(-np.log(np.exp(both[i] @ both[(i + count) % (2 * count)] / temperature) / sum(others)))
  return np.reshape(losses, (2, count)).mean(axis=0)


encode = compiled(methods.create(tiny("simclr")).encode)


def outputs(params, views):
  """The projection of a view by hand from the backbone: Dense, ReLU, Dense in float64."""
  features = np.asarray(encode(params, views)["backbone"], np.float64)
  first, second = (params["projection"][name] for name in ("layers_0", "layers_2"))
  hidden = np.maximum(features @ np.asarray(first["kernel"], np.float64) + np.asarray(first["bias"]), 0)
  return hidden @ np.asarray(second["kernel"], np.float64) + np.asarray(second["bias"])


# Cosines of features of four layers of sums of up to 512 products (rounding(100) of their length on either
# side), over a temperature of 0.5, in numerator and denominator.
OFF = 2 * 2 * rounding(100) / 0.5


def test_loss_is_nt_xent_of_the_views(method):
  state, update = fresh(method)
  _, metrics = update(state, {"image": images()}, jax.random.key(6))
  pair = views(jax.random.key(6), images())
  expected = naive_nt_xent(*(outputs(state.params, view) for view in pair), 0.5).mean()
  np.testing.assert_allclose(metrics["loss"][0] / metrics["loss"][1], expected, rtol=0, atol=OFF)


def test_validation_ignores_padding_and_is_nt_xent_of_the_valid(method):
  state, scores = validation_ignores_padding(method)
  pair = views(jax.random.key(0), images())
  expected = naive_nt_xent(*(outputs(state.ema, view)[:3] for view in pair), 0.5).sum()
  np.testing.assert_allclose(scores["val/nt_xent"], [expected, 3], rtol=0, atol=3 * OFF)


@pytest.mark.slow
def test_four_devices_equal_one(method):
  four_devices_equal_one(method)


def test_loss_falls(method):
  seen = losses_of_overfit(method, 100)["loss"]
  assert np.mean(seen[-20:]) < np.mean(seen[:5]) - 0.3 and np.isfinite(seen).all()


def test_one_image_has_nothing_to_be_contrasted_with():
  config = tiny("simclr")
  config.train.batch_size = 1
  with pytest.raises(UserError, match="SimCLR"):
    validate(config, 1)


@pytest.mark.slow
def test_trains_and_resumes(method, tmp_path):
  trains_and_resumes(tiny("simclr"), method, tmp_path)
