"""View consistency: angles drawn for each image, pictures turned by them, what the view network is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from support.tolerances import rounding, sum_tolerance

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
  phase = rng.uniform(0, 6, (B, 1, 1, 3))
  # smooth: a picture that is sampled twice is then the picture
  albedo = 0.2 + 0.4 * np.sin(3 * x[None, ..., None] + 2 * y[None, ..., None] + phase)
  as_array = [jnp.asarray(values, jnp.float32) for values in (depth, albedo, view)]
  return scenes.Scene(scenes.clamp_border(as_array[0], CONFIG), as_array[1], light, as_array[2])


SCENE = bump()
LIT = SCENE._replace(light=jnp.roll(SCENE.light, -1, axis=0))
render = jax.jit(lambda scene: scenes.render(scene, CONFIG))
TRUE = render(SCENE)
IMAGES = jnp.clip(TRUE.image, -1, 1)


@jax.jit
def turned(angles):
  return view_consistency.turned(IMAGES, SCENE, TRUE.depth, angles, CONFIG)


def test_draws_belong_to_the_image_and_have_the_spread_of_the_configuration():
  draw = jax.jit(lambda index: view_consistency.draw(jax.random.key(3), index, CONFIG))
  drawn = np.asarray(draw(jnp.arange(2000)))
  np.testing.assert_array_equal(draw(jnp.arange(1000, 2000)), drawn[1000:])
  # the deviation of 2,000 draws is within 1/sqrt(4000) = 1.6 % of the true one, four times over
  np.testing.assert_allclose(drawn.std(axis=0), np.deg2rad(CONFIG.view_consistency.spread), rtol=0.065)
  assert np.all(np.abs(drawn) <= scenes.view_range(CONFIG)[None, :3])
  assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 4 / np.sqrt(2000)


def away_from_outlines(mask):
  """Pixels whose 5 x 5 neighbourhood is covered: sampled twice, a picture's outline is blurred."""
  return ndimage.binary_erosion(np.asarray(mask) > 0, np.ones((1, 5, 5)))


@pytest.mark.parametrize("degrees", [(0, 0, 0), (0, 20, 0), (-15, 0, 0), (5, -15, 5)])
def test_what_is_turned_is_what_the_true_scene_looks_like_from_there(degrees):
  angles = SCENE.view[:, :3] + jnp.deg2rad(jnp.array([degrees], jnp.float32))
  view = jnp.concatenate([angles, SCENE.view[:, 3:]], axis=1)
  expected = render(LIT._replace(view=view))
  inside = away_from_outlines(expected.mask)
  difference = np.abs(turned(angles) - jnp.clip(expected.image, -1, 1)).max(axis=-1)[inside]
  # Sampled bilinearly a second time, waves of some ten pixels lose (2 pi / 10)^2 / 8 of their height, 5 %;
  # what the picture does not show comes from the mirror half, which is another colour here.
  assert inside.mean() > 0.3
  assert np.median(difference) < 0.04
  other = np.abs(turned(angles) - jnp.clip(TRUE.image, -1, 1)).max(axis=-1)[inside]
  assert np.median(other) > 0.08  # another light and another view do look different


def test_around_the_object_is_the_colour_of_the_rim():
  angles = jnp.deg2rad(jnp.array([[0.0, 40.0, 0.0]] * B))
  view = jnp.concatenate([angles, SCENE.view[:, 3:]], axis=1)
  outside = np.asarray(render(SCENE._replace(view=view)).mask) == 0
  images = np.asarray(IMAGES, np.float64)
  rim = np.array([np.concatenate([each[0], each[:, 0], each[:, -1]]).mean(axis=0) for each in images])
  expected = np.broadcast_to(rim[:, None, None], images.shape)[outside]
  # sums of 96 numbers up to one, in two orders
  off = sum_tolerance(96) / 96 + rounding(2)
  np.testing.assert_allclose(turned(angles)[outside], expected, rtol=0, atol=off)
  assert 0 < outside.mean() < 1


def test_the_loss_is_the_sum_of_the_angles_errors():
  @jax.jit
  def loss(wrong):
    return view_consistency.loss(lambda _: SCENE.view + wrong[None], IMAGES, SCENE.view[:, :3])

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


def test_no_gradient_reaches_what_is_turned():
  def total(images, scene, depth):
    return view_consistency.turned(images, scene, depth, SCENE.view[:, :3] + 0.1, CONFIG).sum()

  gradients = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(IMAGES, SCENE, TRUE.depth)
  assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(gradients))


def test_errors_of_views_shrink_from_round_to_round():
  """The share of turns that is taught, by the formula of the module, against least squares on drawn views."""
  rng = np.random.default_rng(0)
  drawn, true = rng.normal(0, 25, 200_000), rng.normal(0, 20, 200_000)
  for share in (0.0, 0.6, 0.9):
    looks = drawn + (1 - share) * true  # a picture that was believed to be at `share` of its turn
    taught = drawn @ looks / (looks @ looks)
    assert abs(taught - 25**2 / (25**2 + (1 - share) ** 2 * 20**2)) < 4 / np.sqrt(200_000)
    assert taught > share
