"""The prior on the mean light, against the square and its gradient in NumPy, and over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdr_jax.losses.light_from_below import LEAST, light_from_below

BELOW = np.random.default_rng(0).normal(-0.5, 0.3, 8).astype(np.float32)


@pytest.mark.parametrize("shift", [0.0, 0.5, 0.9])
def test_mean_and_gradient_are_those_of_the_square_of_what_is_lacking(shift):
  vertical = BELOW + np.float32(shift)
  lack = max(LEAST - vertical.astype(np.float64).mean(), 0)
  assert (lack > 0) == (shift < 0.9)
  value, gradient = jax.value_and_grad(lambda v: light_from_below(v).mean())(jnp.asarray(vertical))
  np.testing.assert_allclose(value, lack**2, rtol=1e-5)
  np.testing.assert_allclose(gradient, np.full(8, -2 * lack / 8), rtol=1e-5)


def test_four_devices_have_the_mean_of_the_whole_batch():
  """The averages of values and of gradients over devices are those of one."""
  def of_device(v):
    value, gradient = jax.value_and_grad(lambda v: light_from_below(v, "devices").mean())(v)
    return jax.lax.pmean(value, "devices"), gradient / 4

  shards = jnp.asarray(BELOW).reshape(4, 2)
  value, gradient = jax.vmap(of_device, axis_name="devices")(shards)
  one = jax.value_and_grad(lambda v: light_from_below(v).mean())(jnp.asarray(BELOW))
  np.testing.assert_allclose(value[0], one[0], rtol=1e-5)
  np.testing.assert_allclose(gradient.ravel(), one[1], rtol=1e-5)
