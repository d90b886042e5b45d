"""Photometric, perceptual and smoothness losses against NumPy float64, and the masked mean on one and on
four devices.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from pdr_jax.losses.perceptual import perceptual, pool_mask
from pdr_jax.losses.photometric import photometric
from pdr_jax.losses.reduce import masked_mean
from pdr_jax.losses.smoothness import smoothness


def draw(*shape, seed=0, low=-1.0, high=1.0):
  return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def test_photometric_is_the_laplace_likelihood():
  a, b, s = draw(2, 4, 5, 3), draw(2, 4, 5, 3, seed=1), draw(2, 4, 5, seed=2, low=0.05, high=2)
  np.testing.assert_allclose(photometric(a, b), np.abs(a - b), rtol=1e-6)
  # Minus the log density of a Laplace law of standard deviation s; the constant log(sqrt 2) is left out.
  scale = s[..., None].astype(np.float64) / np.sqrt(2)
  density = np.exp(-np.abs(a.astype(np.float64) - b) / scale) / (2 * scale)
  np.testing.assert_allclose(photometric(a, b, s), -np.log(density) - 0.5 * np.log(2), rtol=1e-4, atol=1e-4)


def test_perceptual_is_the_gaussian_likelihood():
  a, b, s = draw(2, 4, 5, 6), draw(2, 4, 5, 6, seed=1), draw(2, 4, 5, seed=2, low=0.05, high=2)
  np.testing.assert_allclose(perceptual(a, b), np.square(a - b), rtol=1e-5, atol=1e-7)
  scale = s[..., None].astype(np.float64)
  density = np.exp(-0.5 * np.square((a.astype(np.float64) - b) / scale)) / (scale * np.sqrt(2 * np.pi))
  np.testing.assert_allclose(
    perceptual(a, b, s), -np.log(density) - 0.5 * np.log(2 * np.pi), rtol=1e-3, atol=1e-3
  )


@pytest.mark.parametrize("loss", [photometric, perceptual])
def test_gradients(loss):
  a, b, s = draw(1, 3, 3, 2), draw(1, 3, 3, 2, seed=1) + 3, draw(1, 3, 3, seed=2, low=0.5, high=2)
  check_grads(loss, (a, b, s), 1, ["rev"], atol=0.02, rtol=0.02)
  for scale in (0.0, 1e-30, 1e-8, 1e-4, 1e4):
    for target in (a, b):  # equal and different images
      gradients = jax.grad(lambda a, s, t=target: loss(a, t, s).mean(), (0, 1))(a, jnp.full((1, 3, 3), scale))
      assert all(np.isfinite(g).all() for g in gradients), scale


def test_pool_mask():
  mask = draw(2, 8, 8, low=0)
  expected = np.zeros((2, 4, 4))
  for i in range(8):
    for j in range(8):
      expected[:, i // 2, j // 2] += mask[:, i, j] / 4
  np.testing.assert_allclose(pool_mask(mask, 4), expected, rtol=1e-6)
  with pytest.raises(ValueError, match="does not pool"):
    pool_mask(mask, 3)


def test_smoothness():
  depth = draw(2, 6, 9, low=0.9, high=1.1).astype(np.float64)
  expected = (np.abs(np.diff(depth, axis=1)).mean() + np.abs(np.diff(depth, axis=2)).mean()) / 0.2
  np.testing.assert_allclose(smoothness(depth.astype(np.float32), 0.2).mean(), expected, rtol=1e-5)
  # rises by one per row: 1 / span everywhere on average
  ramp = jnp.broadcast_to(jnp.arange(5.0)[:, None], (1, 5, 7)).reshape(1, 5, 7)
  np.testing.assert_allclose(smoothness(ramp, 0.5).mean(), 2.0, rtol=1e-6)
  assert float(smoothness(jnp.ones((1, 4, 4)), 0.2).max()) == 0
  check_grads(lambda d: smoothness(d, 0.2), (draw(1, 4, 4) * 5,), 1, ["rev"], atol=0.05, rtol=0.05)


def test_masked_mean_equals_the_mean_of_what_is_kept():
  values, mask = draw(3, 4, 5, 2), (draw(3, 4, 5, seed=1) > 0).astype(np.float32)
  np.testing.assert_allclose(masked_mean(values, mask), values[mask > 0].mean(), rtol=1e-4)
  np.testing.assert_allclose(masked_mean(values), values.mean(), rtol=1e-4)
  shared = mask[:1]  # one mask for the whole batch
  np.testing.assert_allclose(masked_mean(values, shared), values[:, shared[0] > 0].mean(), rtol=1e-4)
  soft = draw(3, 4, 5, seed=2, low=0)
  np.testing.assert_allclose(masked_mean(values, soft), np.average(values.mean(-1), weights=soft), rtol=1e-4)


def test_masked_mean_gives_the_mask_no_gradient_and_survives_an_empty_one():
  values = draw(2, 3, 4)
  assert float(jnp.abs(jax.grad(lambda m: masked_mean(values, m))(jnp.full((2, 3, 4), 0.5))).max()) == 0
  value, gradient = jax.value_and_grad(masked_mean)(values, np.zeros((2, 3, 4), np.float32))
  assert float(value) == 0 and float(jnp.abs(gradient).max()) == 0
  with pytest.raises(ValueError, match="more axes"):
    masked_mean(values, values[..., None])


def test_masked_mean_on_four_devices_is_that_of_one():
  """The mask is spread as unevenly as can be: full, empty, one pixel, random."""
  values, weight = draw(8, 3, 3, 2), np.float32(0.7)
  mask = (draw(8, 3, 3, seed=1) > 0).astype(np.float32)
  mask[0:2], mask[2:4], mask[4:6] = 1, 0, 0
  mask[4, 1, 1] = 1

  def loss(weight, values, mask, axis_name=None):
    return masked_mean(jnp.square(values * weight), mask, axis_name)

  expected = jax.value_and_grad(loss)(weight, values, mask)

  @functools.partial(jax.pmap, axis_name="devices", in_axes=(None, 0, 0))
  def step(weight, values, mask):
    return jax.lax.pmean(jax.value_and_grad(loss)(weight, values, mask, "devices"), "devices")

  got = step(weight, values.reshape(4, 2, 3, 3, 2), mask.reshape(4, 2, 3, 3))
  for ours, theirs in zip(got, expected, strict=True):
    np.testing.assert_allclose(ours, np.full(4, theirs), rtol=1e-5)
