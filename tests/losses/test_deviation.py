"""Deviation from the batch's means, against NumPy float64, and over devices."""

import jax
import jax.numpy as jnp
import numpy as np
from support.tolerances import mean_tolerance, rounding

from pdr_jax.losses.deviation import deviation

SPAN = 0.2
DEPTH = np.random.default_rng(0).uniform(0.9, 1.1, (8, 5, 6)).astype(np.float32)


def test_values_are_squares_in_units_of_half_the_span():
  exact = np.square((DEPTH.astype(np.float64) - DEPTH.astype(np.float64).mean(axis=0)) / (SPAN / 2))
  # a mean of eight depths of one, its difference, times ten, and the square of a number up to two
  np.testing.assert_allclose(
    deviation(DEPTH, SPAN), exact, rtol=0, atol=2 * 2 * 10 * (mean_tolerance(8, 1.1) + rounding(2, 1.1))
  )
  np.testing.assert_array_equal(deviation(DEPTH[:1], SPAN), np.zeros((1, 5, 6)))


def test_the_gradient_is_that_through_the_mean_as_well():
  def through(depth):
    return jnp.sum(jnp.square((depth - depth.mean(axis=0)[None]) * (2 / SPAN)))

  expected = jax.grad(through)(jnp.asarray(DEPTH))
  actual = jax.grad(lambda depth: deviation(depth, SPAN).sum())(jnp.asarray(DEPTH))
  # two factors of ten on differences of depths, and the mean of eight such gradients, which is zero
  tolerance = 200 * (rounding(4, 1.1) + 2 * mean_tolerance(8, 1.1))
  np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def test_four_devices_have_the_mean_of_the_whole_batch():
  spread = jax.vmap(lambda depth: deviation(depth, SPAN, "devices"), axis_name="devices")
  values = spread(jnp.asarray(DEPTH).reshape(4, 2, 5, 6)).reshape(DEPTH.shape)
  # two means of eight depths, in another order of sums
  tolerance = 2 * 2 * 10 * 2 * mean_tolerance(8, 1.1)
  np.testing.assert_allclose(values, deviation(DEPTH, SPAN), rtol=0, atol=tolerance)
