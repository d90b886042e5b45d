"""mu-VAE: the posterior is clipped and read back as it was, and the term is that of the batch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.baseline_checks import B, D, compiled, four_devices_equal_one, images, tiny
from support.tolerances import rounding, sum_tolerance

from pdr_jax import methods
from pdr_jax.methods import mu_vae, vae


def test_posteriors_are_clipped_and_read_back():
  net = mu_vae.ClippedPosterior(4, 1.0, 0.5)
  size = np.array([0.1, 1, 3, 10, 30, 100])[:, None]
  z = jnp.asarray(np.random.default_rng(0).normal(size=(6, 9)) * size, jnp.float32)
  params = net.init(jax.random.key(0), z)
  outputs = net.apply(params, z)
  mean, raw = jnp.split(outputs, 2, axis=-1)
  dense = z @ params["params"]["dense"]["kernel"]
  for i, radius in ((0, 2.0), (1, 1.0)):
    part = np.asarray(jnp.split(dense, 2, axis=-1)[i], np.float64)
    length = np.linalg.norm(part, axis=1, keepdims=True)
    expected = part * np.minimum(1, radius / length)
    seen = mean if i == 0 else 2 * np.log(np.asarray(jax.nn.softplus(raw + vae.UNIT_STD), np.float64))
    # sums of 9 products of up to 100 for rows that are then clipped to a hundredth
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-5)


def test_gradients_of_free_log_variances_are_finite():
  """Where it is not clipped, any log variance can come; beyond 174 the exponential leaves float32."""
  said = np.array([-1e4, -210, -177, -100, -1, 0, 1, 100, 177, 210, 1e4], np.float32)
  net = mu_vae.ClippedPosterior(len(said), 0.0, 0.0)
  z = jnp.ones((1, 1))
  params = jax.tree.map(jnp.zeros_like, net.init(jax.random.key(0), z))

  def log_variance(bias):
    dense = params["params"]["dense"] | {"bias": jnp.concatenate([jnp.zeros(len(said)), bias])}
    raw = jnp.split(net.apply({"params": {"dense": dense}}, z)[0], 2)[1]
    return 2 * jnp.log(jax.nn.softplus(raw + vae.UNIT_STD) + vae.SMALLEST_STD)

  seen, pull = jax.vjp(log_variance, jnp.asarray(said))
  slope = np.asarray(pull(jnp.ones(len(said)))[0])
  assert np.isfinite(slope).all() and not slope[[0, 1, 2, 8, 9, 10]].any()
  exact = 2 * np.log(np.exp(np.clip(said.astype(np.float64), -174, 174) / 2) + vae.SMALLEST_STD)
  np.testing.assert_allclose(seen, exact, rtol=0, atol=rounding(16, 174))
  share = np.exp(said[3:8].astype(np.float64) / 2)
  # sigmoid and exponential of numbers of up to 50, whose errors are parts of their slopes
  np.testing.assert_allclose(slope[3:8], share / (share + vae.SMALLEST_STD), rtol=0, atol=rounding(16, 50))


@pytest.mark.slow
def test_the_term_is_the_batchs_on_four_devices():
  config = tiny("mu_vae", baseline__zdim=D)
  method = methods.create(config)
  one, _ = four_devices_equal_one(method)
  nets = vae.networks(config) | {"posterior": mu_vae.ClippedPosterior(D, 6.0, 1.0)}
  mean, std = compiled(lambda params: vae.posterior(params, images(), nets))(one.params)
  terms, shown = mu_vae.divergence(mean, std, 0, None, config=config)
  log_variance = 2 * np.log(np.asarray(std, np.float64))
  expected = abs(np.asarray(mean, np.float64).sum(1).mean()) + abs(log_variance.sum(1).mean())
  np.testing.assert_allclose(terms["code"], expected, rtol=0, atol=sum_tolerance(2 * D))
  assert float(shown["kl"]) > 0 and mean.shape == (B, D)
  blocks = compiled(partial(method.encode, one.params))(images())
  np.testing.assert_allclose(blocks["mean"], mean, rtol=0, atol=sum_tolerance(D))
