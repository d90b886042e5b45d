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
from support.tolerances import mean_tolerance, rounding, sum_tolerance

from pdr_jax import methods
from pdr_jax.methods import beta_vae, vae
from pdr_jax.methods.shared import baseline

# Outputs of a network of four layers of sums of up to 512 products, in another program; they are about one.
OFF = rounding(100)
PIXELS = 32 * 32 * 3


@pytest.fixture(scope="module")
def method():
  return methods.create(tiny("vae"))


@pytest.fixture(scope="module")
def state_of(method):
  return fresh(method)[0]


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

  # sums of 7 x 4 terms; the largest are squares of deviations
  off = sum_tolerance(28, max(1.0, np.square(std).max()))
  np.testing.assert_allclose(
    vae.kl_to_prior(as_float32(mean), as_float32(std)), expected, rtol=0, atol=off
  )
  grads = jax.grad(lambda m, s: vae.kl_to_prior(m, s).sum(), argnums=(0, 1))(
    as_float32(mean), as_float32(std)
  )
  np.testing.assert_allclose(grads[0], mean, rtol=0, atol=rounding(4, np.abs(mean).max()))
  off = rounding(6, max(std.max(), (1 / std).max()))
  np.testing.assert_allclose(grads[1], std - 1 / std, rtol=0, atol=off)
  # the prior itself: ones less ones
  np.testing.assert_array_equal(vae.kl_to_prior(jnp.zeros((1, 3)), jnp.ones((1, 3))), 0)


def test_capacity_grows_linearly_and_stays():
  config = tiny("beta_vae", beta_vae__capacity=20.0, beta_vae__capacity_steps=400)
  found = [beta_vae.capacity(jnp.int32(step), config) for step in (0, 100, 399, 400, 9_999)]
  np.testing.assert_allclose(found, [0, 5, 19.95, 20, 20], rtol=0, atol=rounding(3, 20))


def test_noise_is_unit_gaussian_and_each_images_own():
  noise = np.asarray(vae.draw(jax.random.key(1), jnp.arange(64), 100), np.float64)
  np.testing.assert_array_equal(
    vae.draw(jax.random.key(1), jnp.arange(40, 64), 100), noise[40:].astype(np.float32)
  )
  assert abs(noise.mean()) < 4 / 80 and abs(noise.std() - 1) < 4 / 113
  assert np.abs(np.corrcoef(noise) - np.eye(64)).max() < 0.6


CAPACITIES = {"vae": None, "beta": 0.0, "beta with a capacity": 1e4}


@pytest.fixture(scope="module")
def terms_of(state_of):
  """The loss terms and shown numbers of the three, from one program, and the networks' outputs they rest on.

  Those: what the posterior network gives, the noise, and what the decoder makes of both, in float64.
  """
  config, params, pictures = tiny("vae", baseline__pixel_std=0.5), state_of.params, images()
  nets, rng = vae.networks(config), jax.random.key(7)

  def divergence(capacity):
    if capacity is None:
      return vae.divergence
    changes = dict(beta_vae__capacity=capacity, beta_vae__capacity_steps=5)
    return partial(beta_vae.divergence, config=tiny("beta_vae", **changes))

  @compiled
  def run(params, step):
    words = dict(batch={"image": pictures}, rng=rng, step=step, axis_name=None, nets=nets, config=config)
    return {
      name: vae.loss_terms(params, divergence=divergence(capacity), **words)
      for name, capacity in CAPACITIES.items()
    }

  @compiled
  def raw_outputs(params):
    return nets["posterior"].apply({"params": params["posterior"]}, baseline.embed(params, pictures, nets))

  @compiled
  def decoder(params, z):
    return nets["decoder"].apply({"params": params["decoder"]}, z)

  raw = np.asarray(raw_outputs(params), np.float64)
  mean, std = raw[:, :D], np.log1p(np.exp(raw[:, D:] + np.log(np.e - 1))) + 1e-4
  noise = np.stack(
    [np.asarray(jax.random.normal(jax.random.fold_in(rng, i), (D,)), np.float64) for i in range(B)]
  )
  decoded = np.tanh(np.asarray(decoder(params, jnp.asarray(mean + std * noise, jnp.float32)), np.float64))
  # Twice the steps of the capacity's growth, so that C is its final value.
  return run(params, jnp.int32(10)), mean, std, decoded


@needs_torch
@pytest.mark.parametrize("name", CAPACITIES)
def test_terms_are_the_published_formulas(name, terms_of):
  """In float64 from the networks' outputs."""
  terms, mean, std, decoded = terms_of
  (terms, shown), capacity = terms[name], CAPACITIES[name]
  # -log N(x; decoded, 0.5) less its constant, from torch's own density
  density = torch.distributions.Normal(torch.tensor(decoded), 0.5)
  constant = 0.5 * np.log(2 * np.pi) + np.log(0.5)
  log_density = density.log_prob(torch.tensor(images(), dtype=torch.float64)) + constant
  nll = -log_density.numpy().sum((1, 2, 3)).mean()
  kl = (0.5 * (mean**2 + std**2 - 1) - np.log(std)).sum(1).mean()
  expected = {"reconstruction": nll} | ({"kl": kl} if capacity is None else {"capacity": abs(kl - capacity)})
  assert set(terms) == set(expected)
  # Sums over pixels of squares of up to (2 / 0.5)^2, whose slope is up to 2 x 2 / 0.5^2; sums over the latent
  # of four numbers of about one, whose slope is about one.
  off = {"reconstruction": sum_tolerance(PIXELS, 4) + PIXELS * 16 * OFF}
  of_kl = sum_tolerance(4 * D, 1) + 2 * D * OFF
  off |= {"kl": of_kl, "capacity": of_kl + rounding(2, capacity or 0.0)}
  for term, value in expected.items():
    np.testing.assert_allclose(terms[term], value, rtol=0, atol=off[term], err_msg=term)
  if capacity is not None:
    np.testing.assert_allclose(shown["kl"], kl, rtol=0, atol=off["kl"])


def test_encode_is_as_large_as_pdrs_blocks_and_is_the_mean(method, state_of):
  config = tiny("vae", baseline__zdim=0)
  config.networks.update(zdim=16, width_vector=4)
  pdr = tiny("pdr")
  pdr.networks.update(zdim=16, width_vector=4)
  blocks = {}
  for one in (config, pdr):
    system = methods.create(one)
    shapes = jax.eval_shape(system.init, jax.random.key(0), {"image": images()})
    blocks[one.method] = jax.eval_shape(system.encode, shapes.params, jnp.asarray(images()))

  def size(name):
    return sum(block.shape[1] for block in blocks[name].values())

  assert size("vae") == size("pdr") == baseline.representation_size(config) == 96
  nets = vae.networks(tiny("vae"))
  features, mean = compiled(
    lambda params: (method.encode(params, images()), vae.posterior(params, images(), nets)[0])
  )(state_of.params)
  np.testing.assert_array_equal(features["mean"], mean)


@pytest.mark.slow
def test_four_devices_equal_one_where_the_capacity_parts_them(annealed):
  """C lies between the devices' own KLs: the absolute value must be that of the whole batch's."""
  four_devices_equal_one(annealed[1], at_step=1)


def test_validation_ignores_padding_and_is_the_mean_over_images(method):
  config = tiny("vae")
  state, scores = validation_ignores_padding(method)
  decode = compiled(
    lambda params: baseline.decode(params, method.encode(params, images())["mean"], vae.networks(config))
  )
  error = np.asarray(images() - decode(state.ema), np.float64)[:3]
  # three pictures' sums of squares of up to 4, whose slope is up to 2; a mean of differences of up to 2
  off = 3 * (sum_tolerance(PIXELS, 2) + PIXELS * 2 * OFF)
  expected = 0.5 * np.square(error).sum()
  np.testing.assert_allclose(scores["val/reconstruction"][0], expected, rtol=0, atol=off)
  off = mean_tolerance(PIXELS, 2) + OFF
  np.testing.assert_allclose(scores["val/l1"][0] / 3, np.abs(error).mean(), rtol=0, atol=off)


@pytest.mark.slow
def test_loss_falls(method):
  """Also beyond the plateau of the first 60 steps, where every image's posterior is the prior."""
  seen = losses_of_overfit(method, 200, ("reconstruction", "kl"))
  assert np.mean(seen["reconstruction"][-10:]) < 0.3 * seen["reconstruction"][0]
  assert np.mean(seen["kl"][-10:]) > np.log(B)  # nats that it takes to tell the images apart


@pytest.mark.slow
@pytest.mark.parametrize("name", ["beta_vae"])  # a `vae` with a capacity
def test_trains_and_resumes(name, annealed, tmp_path):
  config = tiny("vae")
  config, method = (config, methods.create(config)) if name == "vae" else annealed
  trains_and_resumes(config, method, tmp_path)


@pytest.mark.slow
def test_grey_pictures_are_learned_as_coloured_ones_are():
  config = tiny("vae", data__channels=1)
  method, batch = methods.create(config), {"image": images().mean(axis=-1, keepdims=True)}

  @compiled
  def train(key):
    def step(state, key):
      state, metrics = method.update(state, batch, key, None)
      return state, metrics["loss"][0] / metrics["loss"][1]

    state, losses = jax.lax.scan(step, method.init(key, batch), jax.random.split(key, 6))
    return losses, method.pictures(methods.inference_variables(state), batch["image"])

  losses, shown = train(jax.random.key(0))
  assert losses[-1] < losses[0]
  assert shown["reconstruction"].shape == (B, 32, 32, 1)
