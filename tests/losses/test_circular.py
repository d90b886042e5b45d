"""Mixtures of wrapped normals against SciPy and quadrature in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate, stats
from support.tolerances import rounding

from pdr_jax.losses import circular

MIXTURES = [
  ([0.0], [0.3], [0.1]),
  ([0.0], [3.1], [3.0]),
  ([0.0, 1.0, -2.0], [0.0, 2.0, 4.5], [0.2, 0.5, 1.2]),
]


def wrapped(angle, logits, mean, std):
  weights = np.exp(logits) / np.exp(logits).sum()
  turns = 2 * np.pi * np.arange(-20, 21)
  each = [stats.norm.pdf(angle - m + turns, scale=s).sum() for m, s in zip(mean, std, strict=True)]
  return weights @ each


def test_density_and_kl_against_quadrature():
  for mixture in MIXTURES:
    arrays = [jnp.asarray([part], jnp.float32) for part in mixture]
    angles = np.linspace(-4, 4, 17)
    expected = [wrapped(angle, *mixture) for angle in angles]
    # exponents of up to 3 / 0.1 squared are rounded before they are small: 1e-5 of a density of 4
    seen = circular.density(jnp.asarray(angles, jnp.float32), *arrays)[0]
    np.testing.assert_allclose(seen, expected, rtol=0, atol=4e-5)

    def integrand(angle, mixture=mixture):
      p = wrapped(angle, *mixture)
      return p * np.log(max(2 * np.pi * p, 1e-300))

    peaks = [m % (2 * np.pi) for m in mixture[1]]
    exact, _ = integrate.quad(integrand, 0, 2 * np.pi, limit=200, points=peaks)
    np.testing.assert_allclose(circular.kl_to_uniform(*arrays)[0], exact, rtol=0, atol=rounding(100, 4.0))


def test_gradients_are_finite_and_a_wide_posterior_costs_nothing():
  def cost(logits, mean, std):
    return circular.kl_to_uniform(logits, mean, std).sum()

  for std in (circular.SMALLEST_STD, circular.LARGEST_STD):
    arrays = jnp.zeros((1, 2)), jnp.array([[0.0, 3.0]]), jnp.full((1, 2), std)
    assert all(np.isfinite(g).all() for g in jax.grad(cost, argnums=(0, 1, 2))(*arrays))
  assert 0 <= float(cost(*arrays)) < 1e-3
