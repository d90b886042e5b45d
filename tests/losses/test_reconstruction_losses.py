"""Photometric, perceptual and smoothness losses against NumPy float64.

The masked mean is checked on one and on four devices.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support.tolerances import difference_tolerance, mean_tolerance, rounding

from pdr_jax.losses.perceptual import perceptual, pool_mask
from pdr_jax.losses.photometric import cross_entropy, photometric, squared
from pdr_jax.losses.reduce import masked_mean
from pdr_jax.losses.smoothness import smoothness


def draw(*shape, seed=0, low=-1.0, high=1.0):
  return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def test_photometric_is_the_laplace_likelihood():
  a, b, s = draw(2, 4, 5, 3), draw(2, 4, 5, 3, seed=1), draw(2, 4, 5, seed=2, low=0.05, high=2)
  np.testing.assert_allclose(photometric(a, b), np.abs(a - b), rtol=rounding(2))
  # Minus the log density of a Laplace law of standard deviation s; the constant log(sqrt 2) is left out.
  scale = s[..., None].astype(np.float64) / np.sqrt(2)
  density = np.exp(-np.abs(a.astype(np.float64) - b) / scale) / (2 * scale)
  # |a - b| sqrt2 / s at the smallest s, which the loss's epsilon of 1e-7 makes larger
  largest = 2 * np.sqrt(2) / s.min()
  off = rounding(8, largest) + largest * 1e-7 / s.min()
  expected = -np.log(density) - 0.5 * np.log(2)
  np.testing.assert_allclose(photometric(a, b, s), expected, rtol=0, atol=off)


def test_squares_and_cross_entropy_of_pixels():
  logits, target = draw(2, 4, 5, 3, low=-5, high=5), draw(2, 4, 5, 3, seed=1, low=0.0)
  p, t = 1 / (1 + np.exp(-logits.astype(np.float64))), target.astype(np.float64)
  # exponentials of up to 5, quotients and squares of numbers of up to one
  np.testing.assert_allclose(squared(logits, target), np.square(p - t), rtol=0, atol=rounding(8, 5))
  expected = -(t * np.log(p) + (1 - t) * np.log(1 - p))
  np.testing.assert_allclose(cross_entropy(logits, target), expected, rtol=0, atol=rounding(8, 10))


def test_cross_entropy_is_finite_at_the_ends_and_has_a_gradient_where_a_sigmoid_is_saturated():
  logits = np.array([-1e4, -200, -40, -18, -16.5, -15, -10, 0, 10, 15, 16.5, 18, 40, 200, 1e4], np.float32)
  for target in (np.zeros_like(logits), np.ones_like(logits)):
    assert np.isfinite(cross_entropy(logits, target)).all()
    slope, flat = (jax.grad(lambda x, f=f, t=target: f(x, t).sum())(logits) for f in (cross_entropy, squared))
    expected = 1 / (1 + np.exp(-np.clip(logits, -300, 300).astype(np.float64))) - target
    np.testing.assert_allclose(slope, expected, rtol=0, atol=rounding(8))
    assert np.abs(flat[np.abs(logits) >= 10]).max() < 1e-3


def test_perceptual_is_the_gaussian_likelihood():
  a, b, s = draw(2, 4, 5, 6), draw(2, 4, 5, 6, seed=1), draw(2, 4, 5, seed=2, low=0.05, high=2)
  np.testing.assert_allclose(perceptual(a, b), np.square(a - b), rtol=0, atol=rounding(4, 4))
  scale = s[..., None].astype(np.float64)
  density = np.exp(-0.5 * np.square((a.astype(np.float64) - b) / scale)) / (scale * np.sqrt(2 * np.pi))
  # (a - b)^2 / 2 s^2 at the smallest s; the loss's epsilon of 1e-7 adds to 2 s^2, and to s in the logarithm
  largest = 2 / s.min() ** 2
  off = rounding(8, largest) + largest * 1e-7 / (2 * s.min() ** 2) + 1e-7 / s.min()
  expected = -np.log(density) - 0.5 * np.log(2 * np.pi)
  np.testing.assert_allclose(perceptual(a, b, s), expected, rtol=0, atol=off)


@pytest.mark.parametrize("loss", [photometric, perceptual])
def test_gradients(loss):
  a, b, s = draw(1, 3, 3, 2), draw(1, 3, 3, 2, seed=1) + 3, draw(1, 3, 3, seed=2, low=0.5, high=2)
  step = 2e-3  # sums of 18 values of up to 30; third derivatives of some thousand, by the smallest scale
  off = difference_tolerance(step, 80, 5000)
  check_grads(loss, (a, b, s), order=1, modes=["rev"], eps=step, atol=off, rtol=off)
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
  np.testing.assert_allclose(pool_mask(mask, 4), expected, rtol=0, atol=rounding(4))
  with pytest.raises(ValueError, match="does not pool"):
    pool_mask(mask, 3)


def test_smoothness():
  depth = draw(2, 6, 9, low=0.9, high=1.1).astype(np.float64)
  expected = (np.abs(np.diff(depth, axis=1)).mean() + np.abs(np.diff(depth, axis=2)).mean()) / 0.2
  np.testing.assert_allclose(
    smoothness(depth.astype(np.float32), 0.2).mean(), expected, rtol=0, atol=mean_tolerance(108)
  )
  # rises by one per row: 1 / span everywhere on average
  ramp = jnp.broadcast_to(jnp.arange(5.0)[:, None], (1, 5, 7)).reshape(1, 5, 7)
  np.testing.assert_allclose(smoothness(ramp, 0.5).mean(), 2.0, rtol=mean_tolerance(35))
  assert float(smoothness(jnp.ones((1, 4, 4)), 0.2).max()) == 0
  step, off = 2e-3, difference_tolerance(2e-3, 200, 0)  # sums of absolute differences over 0.2: no curvature
  check_grads(
    lambda d: smoothness(d, 0.2), (draw(1, 4, 4) * 5,), order=1, modes=["rev"], eps=step, atol=off, rtol=off
  )


def test_masked_mean_equals_the_mean_of_what_is_kept():
  values, mask = draw(3, 4, 5, 2), (draw(3, 4, 5, seed=1) > 0).astype(np.float32)
  off = dict(rtol=0, atol=mean_tolerance(values.size))  # of numbers in [-1, 1], on either side
  np.testing.assert_allclose(masked_mean(values, mask), values[mask > 0].mean(), **off)
  np.testing.assert_allclose(masked_mean(values), values.mean(), **off)
  shared = mask[:1]  # one mask for the whole batch
  np.testing.assert_allclose(masked_mean(values, shared), values[:, shared[0] > 0].mean(), **off)
  soft = draw(3, 4, 5, seed=2, low=0)
  np.testing.assert_allclose(masked_mean(values, soft), np.average(values.mean(-1), weights=soft), **off)


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
    np.testing.assert_allclose(ours, np.full(4, theirs), rtol=0, atol=mean_tolerance(values.size))
