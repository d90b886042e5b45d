"""View consistency: angles drawn for each image, pictures turned by them, what the view network is told."""

import jax
import jax.numpy as jnp
import numpy as np
from support.tolerances import rounding

from pdr_jax.config import base
from pdr_jax.methods.pdr import light as light_model
from pdr_jax.methods.pdr import scene as scenes
from pdr_jax.methods.pdr import view_consistency

B, S = 4, 32
CONFIG = base()
CONFIG.data.side = S


def bump(seed=0):
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[-1 : 1 : S * 1j, -1 : 1 : S * 1j]
  depth = np.broadcast_to(1.0 - 0.05 * np.exp(-4 * (x**2 + y**2)), (B, S, S))
  view = rng.uniform(-0.3, 0.3, (B, 6)) * np.array([1, 1, 1, 0.02, 0.02, 0])
  light = light_model.from_outputs(jnp.asarray(rng.uniform(-0.5, 0.5, (B, 9)), jnp.float32), CONFIG)
  albedo = rng.uniform(-1, 1, (B, S, S, 3))
  as_array = [jnp.asarray(values, jnp.float32) for values in (depth, albedo, view)]
  return scenes.Scene(scenes.clamp_border(as_array[0], CONFIG), as_array[1], light, as_array[2])


SCENE = bump()
IMAGES = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (B, S, S, 3)), jnp.float32)


def test_draws_belong_to_the_image_and_have_the_spread_of_the_configuration():
  draw = jax.jit(lambda index: view_consistency.draw(jax.random.key(3), index, CONFIG))
  drawn = np.asarray(draw(jnp.arange(2000)))
  np.testing.assert_array_equal(draw(jnp.arange(1000, 2000)), drawn[1000:])
  # the deviation of 2,000 draws is within 1/sqrt(4000) = 1.6 % of the true one, four times over
  np.testing.assert_allclose(drawn.std(axis=0), np.deg2rad(CONFIG.view_consistency.spread), rtol=0.065)
  assert np.all(np.abs(drawn) <= scenes.view_range(CONFIG)[None, :3])
  assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 4 / np.sqrt(2000)


def test_a_picture_at_the_scene_s_own_view_is_the_reconstruction_on_the_colour_of_the_rim():
  shown = jax.jit(lambda: view_consistency.picture(SCENE, SCENE.view[:, :3], IMAGES, CONFIG))()
  rendering = jax.jit(lambda: scenes.render(SCENE, CONFIG))()
  mask = np.asarray(rendering.mask)[..., None]
  images = np.asarray(IMAGES, np.float64)
  rim = [np.concatenate([each[0], each[:, 0], each[:, -1]]).mean(axis=0) for each in images]
  expected = np.clip(rendering.image, -1, 1) * mask + np.array(rim)[:, None, None] * (1 - mask)
  # products with zero and one: a dozen operations of sampling on numbers up to one, from two programs
  np.testing.assert_allclose(shown, expected, rtol=0, atol=rounding(16, 4.0))
  assert 0 < mask.mean() < 1


def test_the_loss_is_the_sum_of_the_angles_errors():
  @jax.jit
  def loss(wrong):
    return view_consistency.loss(lambda _: SCENE.view + wrong[None], SCENE, SCENE.view[:, :3], IMAGES, CONFIG)

  for entry in range(6):
    # a sum and a difference of angles up to one; translations are not read back
    expected = 0.02 if entry < 3 else 0.0
    np.testing.assert_allclose(loss(0.02 * jnp.eye(6)[entry]), expected, rtol=0, atol=rounding(4))


def test_the_light_is_that_of_the_next_picture_also_on_another_device():
  values = jnp.arange(8.0)[:, None] * jnp.ones((1, 9))
  spread = jax.vmap(lambda part: view_consistency.of_the_next(part, "devices"), axis_name="devices")
  expected = np.roll(np.asarray(values), -1, axis=0)
  np.testing.assert_array_equal(view_consistency.of_the_next(values, None), expected)
  np.testing.assert_array_equal(spread(values.reshape(4, 2, 9)).reshape(8, 9), expected)


def test_what_is_read_is_lit_as_the_next_picture_is():
  @jax.jit
  def read_and_expected():
    seen = []

    def view_of(pictures):
      seen.append(pictures)
      return jnp.zeros((B, 6))

    view_consistency.loss(view_of, SCENE, SCENE.view[:, :3], IMAGES, CONFIG)
    lit = SCENE._replace(light=jnp.roll(SCENE.light, -1, axis=0))
    return seen[0], view_consistency.picture(lit, SCENE.view[:, :3], IMAGES, CONFIG)

  seen, expected = read_and_expected()
  np.testing.assert_allclose(seen, expected, rtol=0, atol=rounding(16, 4.0))


def test_the_gradient_reaches_the_view_network_alone():
  angles = SCENE.view[:, :3] + 0.1

  def total(gain, scene):
    def view_of(pictures):
      return gain * pictures.mean(axis=(1, 2, 3))[:, None] * jnp.ones((1, 6))

    return view_consistency.loss(view_of, scene, angles, IMAGES, CONFIG).sum()

  gain, scene = jax.jit(jax.grad(total, argnums=(0, 1)))(jnp.ones(()), SCENE)
  assert float(gain) != 0
  assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(scene))
