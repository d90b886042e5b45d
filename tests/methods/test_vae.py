"""VAE and beta-VAE: the published losses, and what every baseline must satisfy.

The losses are in NumPy float64. The capacity's course is checked too.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.baseline_checks import (
  B,
  D,
  compiled,
  four_devices_equal_one,
  fresh,
  images,
  losses_of_overfit,
  tiny,
  trains_and_resumes,
  validation_ignores_padding,
)
from support.references import needs_torch, torch

from pdr_jax import methods
from pdr_jax.methods import beta_vae, vae
from pdr_jax.methods.shared import baseline


@pytest.fixture(scope="module")
def state_of():
  return fresh(methods.create(tiny("vae")))[0]


@pytest.fixture(scope="module")
def annealed(state_of):
  """beta-VAE after its annealing, with a capacity between the KLs of four devices' images."""
  config = tiny("beta_vae", beta_vae__gamma=10.0, beta_vae__capacity_steps=1)
  kl = compiled(lambda params: vae.kl_to_prior(*vae.posterior(params, images(), vae.networks(config))))(
    state_of.params
  )
  shards = np.asarray(kl, np.float64).reshape(4, -1).mean(axis=1)
  config.beta_vae.capacity = float((shards.mean() + min(shards[shards > shards.mean()])) / 2)
  assert {True, False} == set((shards > config.beta_vae.capacity).tolist())
  return config, methods.create(config)


@needs_torch
def test_kl_is_the_closed_form_and_its_gradient_pulls_to_the_prior():
  rng = np.random.default_rng(0)
  mean, std = rng.normal(size=(5, 7)), np.exp(rng.normal(size=(5, 7)))
  normal = torch.distributions.Normal
  expected = (
    torch.distributions.kl_divergence(normal(torch.tensor(mean), torch.tensor(std)), normal(0.0, 1.0))
    .sum(1)
    .numpy()
  )

  def as_float32(x):
    return jnp.asarray(x, jnp.float32)

  np.testing.assert_allclose(vae.kl_to_prior(as_float32(mean), as_float32(std)), expected, rtol=1e-5)
  grads = jax.grad(lambda m, s: vae.kl_to_prior(m, s).sum(), argnums=(0, 1))(
    as_float32(mean), as_float32(std)
  )
  np.testing.assert_allclose(grads[0], mean, rtol=1e-5)
  np.testing.assert_allclose(grads[1], std - 1 / std, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(vae.kl_to_prior(jnp.zeros((1, 3)), jnp.ones((1, 3))), 0, atol=1e-7)


def test_capacity_grows_linearly_and_stays():
  config = tiny("beta_vae", beta_vae__capacity=20.0, beta_vae__capacity_steps=400)
  found = [beta_vae.capacity(jnp.int32(step), config) for step in (0, 100, 399, 400, 9_999)]
  np.testing.assert_allclose(found, [0, 5, 19.95, 20, 20], rtol=1e-6)


def test_noise_is_unit_gaussian_and_each_images_own():
  noise = np.asarray(vae.draw(jax.random.key(1), jnp.arange(64), 100), np.float64)
  np.testing.assert_array_equal(
    vae.draw(jax.random.key(1), jnp.arange(40, 64), 100), noise[40:].astype(np.float32)
  )
  assert abs(noise.mean()) < 4 / 80 and abs(noise.std() - 1) < 4 / 113
  assert np.abs(np.corrcoef(noise) - np.eye(64)).max() < 0.6


@needs_torch
@pytest.mark.parametrize("name, capacity", [("vae", 0.0), ("beta_vae", 0.0), ("beta_vae", 1e4)])
def test_terms_are_the_published_formulas(name, capacity, state_of):
  """In float64 from the networks' outputs.

  Twice the steps of the capacity's growth, so that C is its final value.
  """
  changes = {"beta_vae__capacity": capacity, "beta_vae__capacity_steps": 5} if name == "beta_vae" else {}
  config = tiny(name, baseline__pixel_std=0.5, **changes)
  nets, params, pictures = vae.networks(config), state_of.params, images()

  def apply(net, x):
    return compiled(nets[net].apply)({"params": params[net]}, x)

  raw = np.asarray(apply("posterior", apply("encoder", pictures)), np.float64)
  mean, std = raw[:, :D], np.log1p(np.exp(raw[:, D:] + np.log(np.e - 1))) + 1e-4
  rng = jax.random.key(7)
  noise = np.stack(
    [np.asarray(jax.random.normal(jax.random.fold_in(rng, i), (D,)), np.float64) for i in range(B)]
  )
  decoded = np.tanh(np.asarray(apply("decoder", jnp.asarray(mean + std * noise, jnp.float32)), np.float64))
  # -log N(x; decoded, 0.5) less its constant, from torch's own density
  density = torch.distributions.Normal(torch.tensor(decoded), 0.5)
  constant = 0.5 * np.log(2 * np.pi) + np.log(0.5)
  nll = (
    -(density.log_prob(torch.tensor(pictures, dtype=torch.float64)) + constant).numpy().sum((1, 2, 3)).mean()
  )
  kl = (0.5 * (mean**2 + std**2 - 1) - np.log(std)).sum(1).mean()
  divergence = vae.divergence if name == "vae" else partial(beta_vae.divergence, config=config)
  words = dict(
    batch={"image": pictures}, rng=rng, axis_name=None, nets=nets, divergence=divergence, config=config
  )
  terms, shown = compiled(lambda params, step: vae.loss_terms(params, step=step, **words))(
    params, jnp.int32(10)
  )
  expected = {"reconstruction": nll} | ({"kl": kl} if name == "vae" else {"capacity": abs(kl - capacity)})
  assert set(terms) == set(expected)
  for term, value in expected.items():
    np.testing.assert_allclose(terms[term], value, rtol=2e-4, err_msg=term)
  if name == "beta_vae":
    np.testing.assert_allclose(shown["kl"], kl, rtol=2e-4)


def test_encode_is_as_large_as_pdrs_blocks_and_is_the_mean(state_of):
  config = tiny("vae", baseline__zdim=0)
  config.networks.update(zdim=16, width_vector=4)
  pdr = tiny("pdr")
  pdr.networks.update(zdim=16, width_vector=4)
  blocks = {}
  for one in (config, pdr):
    method = methods.create(one)
    shapes = jax.eval_shape(method.init, jax.random.key(0), {"image": images()})
    blocks[one.method] = jax.eval_shape(method.encode, shapes.params, jnp.asarray(images()))

  def size(name):
    return sum(block.shape[1] for block in blocks[name].values())

  assert size("vae") == size("pdr") == baseline.representation_size(config) == 96
  config = tiny("vae")
  method, nets = methods.create(config), vae.networks(config)
  features, mean = compiled(
    lambda params: (method.encode(params, images()), vae.posterior(params, images(), nets)[0])
  )(state_of.params)
  np.testing.assert_array_equal(features["mean"], mean)


def test_four_devices_equal_one_where_the_capacity_parts_them(annealed):
  """C lies between the devices' own KLs: the absolute value must be that of the whole batch's."""
  four_devices_equal_one(annealed[1], at_step=1)


def test_validation_ignores_padding_and_is_the_mean_over_images():
  config = tiny("vae")
  method = methods.create(config)
  state, scores = validation_ignores_padding(method)
  decode = compiled(
    lambda params: baseline.decode(params, method.encode(params, images())["mean"], vae.networks(config))
  )
  error = np.asarray(images() - decode(state.ema), np.float64)[:3]
  np.testing.assert_allclose(scores["val/reconstruction"][0], 0.5 * np.square(error).sum(), rtol=1e-4)
  np.testing.assert_allclose(scores["val/l1"][0] / 3, np.abs(error).mean(), rtol=1e-4)


def test_loss_falls():
  """Also beyond the plateau of the first 60 steps, where every image's posterior is the prior."""
  seen = losses_of_overfit(methods.create(tiny("vae")), 200, ("reconstruction", "kl"))
  assert np.mean(seen["reconstruction"][-10:]) < 0.3 * seen["reconstruction"][0]
  assert np.mean(seen["kl"][-10:]) > np.log(B)  # nats that it takes to tell the images apart


@pytest.mark.parametrize("name", [pytest.param("vae", marks=pytest.mark.slow), "beta_vae"])
def test_trains_and_resumes(name, annealed, tmp_path):
  config = tiny("vae")
  config, method = (config, methods.create(config)) if name == "vae" else annealed
  trains_and_resumes(config, method, tmp_path)


def test_grey_pictures_are_learned_as_coloured_ones_are():
  config = tiny("vae", data__channels=1)
  method, batch = methods.create(config), {"image": images().mean(axis=-1, keepdims=True)}
  state = compiled(method.init)(jax.random.key(0), batch)
  update, losses = compiled(partial(method.update, axis_name=None)), []
  for step in range(6):
    state, metrics = update(state, batch, jax.random.key(step))
    losses.append(float(metrics["loss"][0] / metrics["loss"][1]))
  assert losses[-1] < losses[0]
  shown = method.pictures(methods.inference_variables(state), batch["image"])
  assert shown["reconstruction"].shape == (B, 32, 32, 1)
