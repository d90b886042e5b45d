"""Views read several times: which pictures are read, what becomes of the readings, where PDR uses them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.tolerances import rounding

from pdr_jax.config import base, variant
from pdr_jax.methods.pdr import light as light_model
from pdr_jax.methods.pdr import scene as scenes
from pdr_jax.methods.pdr import system, view_reading

B, S = 4, 32
READING = np.array([0.2, -0.3, 0.05, 0.01, -0.02, 0.0])
MIRRORED = READING * [1, -1, -1, -1, 1, 1]


def configured(readings, flip=0.5):
  config = base()
  config.data.side, config.scene.view_readings, config.loss.flip = S, readings, flip
  return config


def bump():
  """A symmetric bump in smooth paint, at views of up to 23 degrees."""
  y, x = np.mgrid[-1 : 1 : S * 1j, -1 : 1 : S * 1j]
  depth = np.broadcast_to(1.0 - 0.05 * np.exp(-4 * (x**2 + y**2)), (B, S, S))
  view = np.random.default_rng(0).uniform(-0.4, 0.4, (B, 6)) * np.array([1, 1, 1, 0.02, 0.02, 0])
  waves = np.sin(3 * x[None, ..., None] + 2 * y[None, ..., None] + np.arange(3))
  albedo = np.broadcast_to(0.2 + 0.4 * waves, (B, S, S, 3))
  light = light_model.from_outputs(jnp.zeros((B, 9)), configured(1))
  depth, albedo, view = (jnp.asarray(values, jnp.float32) for values in (depth, albedo, view))
  return scenes.Scene(scenes.clamp_border(depth, configured(1)), albedo, light, view)


SCENE = bump()
RENDERED = scenes.render(SCENE, configured(1))


@pytest.mark.parametrize("readings, flip", [(1, 0.0), (3, 0.0), (3, 0.5)])
def test_what_further_readings_say_is_added_and_all_are_averaged(readings, flip):
  """A network that always says the same: its k-th reading is k times as far turned, within the range."""
  config = configured(readings, flip)
  config.scene.rotation_range = 30.0  # a yaw of .3 radians is out of it at the second reading
  always = (READING + MIRRORED) / 2 if flip else READING
  limit = np.array(scenes.view_range(config), np.float64)
  turns = np.outer(np.arange(1, readings + 1), always)
  turns[:, 3:] = always[3:]
  turns = np.concatenate([turns[:1], np.clip(turns[1:], -limit, limit)])
  found = view_reading.mean_of_readings(
    lambda pictures: jnp.tile(jnp.asarray(READING, jnp.float32), (len(pictures), 1)),
    RENDERED.image, SCENE.depth, config,
  )
  expected = np.tile(turns.mean(axis=0), (B, 1))
  np.testing.assert_allclose(found, expected, rtol=0, atol=rounding(6, np.abs(turns).max()))


def test_the_second_reading_is_of_the_canonical_picture():
  """A network that knows the views is shown, the second time, what each scene looks like from the front."""
  seen = []

  def view_of(pictures):
    seen.append(np.asarray(pictures))
    return SCENE.view if len(seen) == 1 else jnp.zeros_like(SCENE.view)

  found = view_reading.mean_of_readings(view_of, RENDERED.image, SCENE.depth, configured(2, flip=0.0))
  np.testing.assert_allclose(found, SCENE.view, rtol=0, atol=rounding(4, 0.5))
  inside = (slice(None), slice(6, -6), slice(6, -6))
  difference = np.abs(seen[1] - np.asarray(RENDERED.canonical))[inside]
  # Sampled bilinearly twice, waves of some fifteen pixels lose 2 to 5 % of their height of .4.
  assert np.median(difference) < 0.02
  assert np.median(np.abs(np.asarray(RENDERED.image - RENDERED.canonical))[inside]) > 0.04  # views do show


def test_a_mirror_shows_the_mirrored_scene_at_the_mirrored_view():
  """The signs, against the renderer: paint is mirrored, the shape is symmetric."""
  seen = scenes.Scene(
    SCENE.depth, SCENE.albedo[:, :, ::-1], SCENE.light, SCENE.view * view_reading.MIRRORED[None]
  )
  inside = (slice(None), slice(6, -6), slice(6, -6))
  mirrored = np.asarray(scenes.render(seen, configured(1)).image)[inside]
  difference = np.abs(mirrored - np.asarray(RENDERED.image[:, :, ::-1])[inside])
  assert np.median(difference) < 0.005
  assert np.median(np.abs(mirrored - np.asarray(RENDERED.image)[inside])) > 0.05


def test_a_mirror_image_has_the_mirrored_view():
  """For whatever a network says, where the shape is symmetric."""
  weights = jax.random.normal(jax.random.key(1), (S * S * 3, 6)) / S

  def view_of(pictures):
    return 0.3 * jnp.tanh(jnp.matmul(pictures.reshape(len(pictures), -1), weights, precision="highest"))

  config = configured(3)
  own = view_reading.mean_of_readings(view_of, RENDERED.image, SCENE.depth, config)
  mirrored = view_reading.mean_of_readings(view_of, RENDERED.image[:, :, ::-1], SCENE.depth, config)
  np.testing.assert_allclose(np.asarray(mirrored) * [1, -1, -1, -1, 1, 1], own, rtol=0, atol=1e-4)
  assert np.abs(np.asarray(own)).max() > 0.05


@pytest.fixture(scope="module")
def trained():
  config = variant(base(), "small")
  config.data.side = S
  nets = system.networks(config)
  images = jnp.zeros((1, S, S, 3))
  params = {name: net.init(jax.random.key(i), images)["params"] for i, (name, net) in enumerate(nets.items())}
  return config, nets, params | {system.MEAN_SHAPE: jnp.zeros((S, S))}


def read_often(config, readings):
  config = config.copy_and_resolve_references()
  config.scene.view_readings = readings
  return config


@pytest.mark.parametrize("readings", [1, 3])
def test_what_is_taken_apart_has_the_view_of_all_readings(trained, readings):
  config, nets, params = trained
  config = read_often(config, readings)
  scene, _, _ = system.explain(params, RENDERED.image, nets=nets, config=config)
  parts = system.decompose(params, RENDERED.image, nets=nets, config=config)

  def view_of(pictures):
    return system.predicted_view(params, pictures, nets=nets, config=config)

  once = np.asarray(view_of(RENDERED.image))
  expected = once
  if readings > 1:
    expected = view_reading.mean_of_readings(view_of, RENDERED.image, scene.depth, config)
    assert np.abs(np.asarray(expected) - once).max() > 1e-3
  np.testing.assert_allclose(scene.view, expected, rtol=0, atol=1e-5)
  np.testing.assert_allclose(parts["view"], expected, rtol=0, atol=1e-5)
  shown = scenes.at_view(parts["depth"], parts["canonical"], parts["view"], config)[0]
  np.testing.assert_allclose(parts["reconstruction"], shown, rtol=0, atol=1e-4)


def test_gradients_are_those_of_the_first_reading(trained):
  config, nets, fresh = trained

  def gradient(readings):
    def weighted(params):
      scene = system.explain(params, RENDERED.image, nets=nets, config=read_often(config, readings))[0]
      return jnp.sum(scene.view * jnp.arange(1, 7)[None])

    return jax.grad(weighted)(fresh)

  for once, thrice in zip(jax.tree.leaves(gradient(1)), jax.tree.leaves(gradient(3)), strict=True):
    np.testing.assert_allclose(thrice, once, rtol=0, atol=1e-6 * max(1.0, np.abs(once).max()))


def test_without_rotations_a_view_is_read_once(trained):
  config, nets, params = trained
  config = read_often(config, 3)
  config.scene.rotation_range = 0.0
  view = system.explain(params, RENDERED.image, nets=nets, config=config)[0].view
  once = system.predicted_view(params, RENDERED.image, nets=nets, config=config)
  np.testing.assert_allclose(view, once, rtol=0, atol=1e-7)
  assert np.abs(np.asarray(once)).max() > 1e-4  # translations
