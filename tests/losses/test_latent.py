"""Regularisers of codes against NumPy in float64, and over several devices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.tolerances import sum_tolerance

from pdr_jax.losses import latent

B, D = 8, 5


def draws(seed=0):
  rng = np.random.default_rng(seed)
  return [rng.normal(size=(B, D)) + shift for shift in (0.3, -0.2)]


def f32(*arrays):
  return [jnp.asarray(array, jnp.float32) for array in arrays]


def inverse_multiquadratics(a, b):
  square = ((a[:, None] - b[None]) ** 2).sum(-1)
  return sum(2 * D * s / (2 * D * s + square) for s in latent.SCALES)


def unbiased_mmd(x, y):
  off = ~np.eye(B, dtype=bool)
  within = sum(inverse_multiquadratics(z, z)[off].sum() / (B * (B - 1)) for z in (x, y))
  return within - 2 * inverse_multiquadratics(x, y).mean()


EXPECTED = {
  "mu_vae": lambda m, v: abs(m.sum(1).mean()) + abs(v.sum(1).mean()),
  "mu_vae_per_dimension": lambda m, v: np.abs(m.mean(0)).sum() + np.abs(v.mean(0)).sum(),
  "mmd": unbiased_mmd,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_terms_against_numpy_and_the_same_on_four_devices(name):
  """The mean over devices of value and gradient is that of the whole batch."""
  mean, variance = draws()
  term = getattr(latent, name)
  # sums of 40 numbers, or of 128 pairs' kernels of up to 5
  tolerance = sum_tolerance(128, 5.0) / (1 if name != "mmd" else B)
  inputs = f32(mean, variance)
  value, gradient = jax.jit(jax.value_and_grad(lambda m, v: term(m, v, None)))(*inputs)
  np.testing.assert_allclose(value, EXPECTED[name](mean, variance), rtol=0, atol=tolerance)

  def share(m, v):
    value, gradient = jax.value_and_grad(partial(term, axis_name="devices"))(m, v)
    return jax.lax.pmean(value, "devices"), gradient / 4

  values, gradients = jax.pmap(share, axis_name="devices")(*(x.reshape(4, 2, D) for x in inputs))
  np.testing.assert_allclose(values, np.full(4, value), rtol=0, atol=tolerance)
  np.testing.assert_allclose(gradients.reshape(B, D), gradient, rtol=0, atol=tolerance)


def test_cancelling_dimensions_are_seen_only_by_the_term_per_dimension():
  mean = jnp.tile(jnp.array([[2.0, -2.0]]), (4, 1))
  zero = jnp.zeros((4, 2))
  assert float(latent.mu_vae(mean, zero, None)) == 0.0
  assert float(latent.mu_vae_per_dimension(mean, zero, None)) == 4.0


def test_kl_is_zero_at_the_prior_and_as_the_integral():
  mean, variance = draws()
  expected = ((mean**2 + np.exp(variance) - 1 - variance) / 2).sum(1)
  kl = latent.kl_to_normal(*f32(mean, variance))
  np.testing.assert_allclose(kl, expected, rtol=0, atol=sum_tolerance(4 * D, 5.0))
  assert float(jnp.abs(latent.kl_to_normal(jnp.zeros((2, 3)), jnp.zeros((2, 3)))).max()) == 0.0


def test_long_rows_are_clipped_and_short_ones_left():
  rows = jnp.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
  clipped = latent.clip_rows(rows, 2.0)
  np.testing.assert_allclose(clipped[0], [1.2, 1.6], rtol=0, atol=1e-6)  # three roundings of about one
  np.testing.assert_array_equal(clipped[1:], rows[1:])
  gradient = jax.grad(lambda x: latent.clip_rows(x, 2.0).sum())(rows)
  assert np.isfinite(gradient).all() and (gradient[1:] == 1).all()
