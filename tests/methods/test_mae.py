"""The masked autoencoder: masks, what the encoder does not see, the loss in float64, and what every baseline
must satisfy.

Its network by itself: `tests/networks/test_vit.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.baseline_checks import (
  B,
  D,
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
from pdr_jax.losses import patches as losses
from pdr_jax.methods import mae
from pdr_jax.networks.vit import to_patches

PATCH = 8
COUNT, SEEN = (S // PATCH) ** 2, 4


@pytest.fixture(scope="module")
def method():
  return methods.create(tiny("mae"))


@pytest.fixture(scope="module")
def predict():
  config = tiny("mae")
  nets = mae.networks(config)
  return compiled(
    lambda params, patches, order: mae.predict(params, patches, order, nets=nets, config=config)
  )


draw = compiled(lambda rng, index: mae.orders(rng, index, COUNT))


def cut(pictures):
  """Patches by slices, in float64."""
  rows = [
    pictures[:, r : r + PATCH, c : c + PATCH].reshape(len(pictures), -1)
    for r in range(0, S, PATCH)
    for c in range(0, S, PATCH)
  ]
  return np.stack(rows, axis=1).astype(np.float64)


def naive_loss(predicted, hidden, pictures):
  """Patch by patch: its numbers less their mean, over their deviation, against what was predicted."""
  values = []
  for picture in range(len(pictures)):
    for place in np.flatnonzero(hidden[picture]):
      patch = cut(pictures)[picture, place]
      target = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6)
      values.append(np.square(predicted[picture, place] - target).mean())
  return values


# Targets have deviation one (and lie within 14, the root of a patch's numbers); they are differences of
# pixels of up to one over deviations of at least this.
def off(pictures):
  deviation = np.sqrt(cut(pictures).var(axis=2) + 1e-6).min()
  return 14 * rounding(16, 1 / deviation) + mean_tolerance(PATCH**2 * 3, 14)


# ---------------------------------------------------------------- masks


def test_three_quarters_are_hidden_evenly_and_each_picture_has_its_own_mask(method, predict):
  index = jnp.arange(2000)
  order = np.asarray(draw(jax.random.key(0), index))
  np.testing.assert_array_equal(np.sort(order, axis=1), np.broadcast_to(np.arange(COUNT), order.shape))
  share = np.bincount(order[:, :SEEN].ravel(), minlength=COUNT) / 2000  # a quarter, deviation .01
  assert np.abs(share - 0.25).max() < 0.05
  np.testing.assert_array_equal(draw(jax.random.key(0), index[5:]), order[5:])
  assert len(np.unique(order[:8, :SEEN], axis=0)) == 8
  _, hidden = predict(fresh(method)[0].params, to_patches(images(), PATCH), order[:B])
  for row, places in zip(np.asarray(hidden), order, strict=False):
    assert row.sum() == COUNT - SEEN and (row[places[:SEEN]] == 0).all()


def test_hidden_pixels_reach_neither_the_encoder_nor_the_prediction(method, predict):
  """Bit for bit; a pixel that is seen changes both."""
  order = np.asarray(draw(jax.random.key(1), jnp.arange(B)))
  patches = np.asarray(to_patches(images(), PATCH))
  changed = patches.copy()
  for row, places in enumerate(order):
    changed[row, places[SEEN:]] = np.random.default_rng(row).uniform(-1, 1, changed[row, places[SEEN:]].shape)
  params = fresh(method)[0].params
  first, second = predict(params, patches, order), predict(params, changed, order)
  np.testing.assert_array_equal(first[0], second[0])
  changed = patches.copy()
  changed[:, :, 0] += np.where(np.arange(COUNT)[None] == order[:, :1], 0.5, 0.0)
  assert (np.abs(np.asarray(predict(params, changed, order)[0] - first[0])).max(axis=(1, 2)) > 0).all()


def test_encoder_is_given_the_visible_patches_alone(method):
  """As many as there are visible ones, in the step's program."""
  config, given = tiny("mae"), []

  class Spy:
    def __init__(self, net):
      self.net = net

    def apply(self, variables, patches, places):
      given.append((patches.shape, places.shape))
      return self.net.apply(variables, patches, places)

  nets = mae.networks(config)
  nets["encoder"] = Spy(nets["encoder"])
  jax.eval_shape(
    lambda params: mae.errors(params, images(), jax.random.key(0), None, nets=nets, config=config),
    fresh(method)[0].params,
  )
  assert given == [((B, SEEN, PATCH**2 * 3), (B, SEEN))]


# ---------------------------------------------------------------- the loss


def test_loss_is_that_of_the_hidden_patches(method, predict):
  state, update = fresh(method)
  _, metrics = update(state, {"image": images()}, jax.random.key(6))
  order = draw(jax.random.key(6), jnp.arange(B))
  predicted, hidden = predict(state.params, to_patches(images(), PATCH), order)
  expected = np.mean(naive_loss(np.asarray(predicted, np.float64), np.asarray(hidden), images()))
  found = metrics["loss"][0] / metrics["loss"][1]
  np.testing.assert_allclose(found, expected, rtol=0, atol=off(images()))


def test_validation_ignores_padding_and_is_the_loss_of_the_valid(method, predict):
  state, scores = validation_ignores_padding(method)
  order = draw(jax.random.key(0), jnp.arange(B))
  predicted, hidden = predict(state.ema, to_patches(images(), PATCH), order)
  values = naive_loss(np.asarray(predicted, np.float64)[:3], np.asarray(hidden)[:3], images()[:3])
  expected = np.sum(values) / (COUNT - SEEN)
  np.testing.assert_allclose(scores["val/reconstruction"], [expected, 3], rtol=0, atol=3 * off(images()))


def test_a_patch_of_one_colour_has_finite_targets_and_gradients():
  flat = jnp.full((1, 2, 12), 0.3)
  values, gradient = jax.value_and_grad(lambda x: losses.normalized(x).sum())(flat)
  # twelve zeros, but for the rounding of the mean, over the root of the epsilon
  assert abs(float(values)) <= 24 * rounding(4, 0.3) / 1e-3 and np.isfinite(gradient).all()


@pytest.mark.slow
def test_four_devices_equal_one(method):
  four_devices_equal_one(method)


def test_loss_falls(method):
  seen = losses_of_overfit(method, 60)["loss"]
  assert np.isfinite(seen).all() and np.mean(seen[-10:]) < 0.8 * np.mean(seen[:5])


# ---------------------------------------------------------------- what it gives


def test_representation_is_the_mean_over_the_whole_picture(method):
  state, _ = fresh(method)
  config = tiny("mae")
  encoder = mae.networks(config)["encoder"]
  patches = to_patches(images(), PATCH)
  places = np.broadcast_to(np.arange(COUNT), (B, COUNT))
  # In another order: positions go with the patches.
  shuffle = np.random.default_rng(0).permutation(COUNT)
  apply = compiled(lambda params, patches, places: encoder.apply({"params": params}, patches, places))
  vectors = np.asarray(apply(state.params["encoder"], patches[:, shuffle], places[:, shuffle]), np.float64)
  found = compiled(method.encode)(state.params, images())["backbone"]
  assert found.shape == (B, D) and vectors.min() >= 0
  # a transformer of one block: some hundred roundings of numbers of about one, other orders of its sums
  np.testing.assert_allclose(found, vectors.mean(axis=1), rtol=0, atol=rounding(200))


def test_pictures_and_maps(method):
  state, _ = fresh(method)
  shown = compiled(method.pictures)(state.params, images())
  order = np.asarray(draw(jax.random.key(0), jnp.arange(B)))
  seen, filled, true = cut(np.asarray(shown["seen"])), cut(np.asarray(shown["reconstruction"])), cut(images())
  for row, places in enumerate(order):
    np.testing.assert_array_equal(seen[row, places[:SEEN]], true[row, places[:SEEN]])
    np.testing.assert_array_equal(filled[row, places[:SEEN]], true[row, places[:SEEN]])
    np.testing.assert_array_equal(seen[row, places[SEEN:]], 0)
    assert (np.abs(filled[row, places[SEEN:]] - true[row, places[SEEN:]]).max(axis=1) > 0).all()
  maps = jax.eval_shape(method.feature_maps, state.params, images())["encoder"]
  assert [level.shape for level in maps] == [(B, S // PATCH, S // PATCH, 16), (B, D)]


@pytest.mark.parametrize("changes, word", [
    (dict(mae__patch=5), "mae.patch"), (dict(mae__patch=32), "mae.patch"), (dict(mae__heads=3), "mae.heads"),
    (dict(mae__mask=0.01), "mae.mask"), (dict(mae__decoder_heads=3), "mae.decoder_heads"),
])  # fmt: skip
def test_what_cannot_be_is_told(changes, word):
  with pytest.raises(UserError, match=word):
    tiny("mae", **changes)


def test_any_side_that_patches_fill():
  config = tiny("mae", data__side=24, data__channels=1)
  validate(config, 4)
  method = methods.create(config)
  batch = {"image": np.zeros((2, 24, 24, 1), np.float32)}
  state = jax.eval_shape(method.init, jax.random.key(0), batch)
  features = jax.eval_shape(method.encode, state.params, batch["image"])
  assert features["backbone"].shape == (2, D)


@pytest.mark.slow
def test_trains_and_resumes(method, tmp_path):
  trains_and_resumes(tiny("mae"), method, tmp_path)
