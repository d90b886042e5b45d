"""VQ-VAE: quantisation, codebook, and what every baseline must satisfy.

Quantisation and codebook are compared with naive loops in float64; the straight-through gradient is checked.
"""

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
from support.tolerances import mean_tolerance, rounding, sum_tolerance

from pdr_jax import methods
from pdr_jax.config_checks import validate
from pdr_jax.errors import UserError
from pdr_jax.methods import inference_variables, vq_vae
from pdr_jax.methods.shared import baseline

K, WIDTH = 12, 8
# Outputs of a network of four layers of sums of up to 512 products, in another program; they are about one.
OFF = rounding(100)
PIXELS = 32 * 32 * 3


@pytest.fixture(scope="module")
def method():
  return methods.create(tiny("vq_vae"))


def naive_nearest(tokens, codes):
  return [min(range(len(codes)), key=lambda k, token=token: sum((token - codes[k]) ** 2)) for token in tokens]


def test_nearest_is_the_naive_search():
  rng = np.random.default_rng(0)
  tokens, codes = rng.normal(size=(5, 6, WIDTH)), rng.normal(size=(K, WIDTH))
  found = vq_vae.nearest(jnp.asarray(tokens, jnp.float32), jnp.asarray(codes, jnp.float32))
  np.testing.assert_array_equal(np.ravel(found), naive_nearest(tokens.reshape(-1, WIDTH), codes))


def test_codebook_is_a_moving_average_and_its_dead_restart():
  """Token by token over six batches, codes 9 to 11 never chosen: they die and come back as tokens of the
  batch, at the average count.
  """
  config = tiny("vq_vae", vq_vae__decay=0.6)
  rng = np.random.default_rng(1)
  count, total = rng.uniform(2, 6, K), rng.normal(size=(K, WIDTH)) * 4
  book = {"count": jnp.asarray(count, jnp.float32), "total": jnp.asarray(total, jnp.float32)}
  step, deaths = jax.jit(lambda *words: vq_vae.update_codebook(*words, None, config)), 0
  for batch in range(6):
    tokens, index = rng.normal(size=(48, WIDTH)), rng.integers(0, 9, 48)
    book, perplexity = step(book, jnp.asarray(tokens, jnp.float32), jnp.asarray(index), jax.random.key(batch))
    entropy = 0.0
    for k in range(K):
      mine = [token for token, i in zip(tokens, index, strict=True) if i == k]
      count[k] = 0.6 * count[k] + 0.4 * len(mine)
      total[k] = 0.6 * total[k] + 0.4 * sum(mine, np.zeros(WIDTH))
      if mine:
        entropy -= len(mine) / 48 * np.log(len(mine) / 48)
      if count[k] < 0.1 * 48 / K:
        assert k >= 9
        deaths += 1
        code = np.asarray(vq_vae.vectors(book)[k])
        donor = np.abs(tokens - code).sum(1).argmin()
        # a product by the average count, and a quotient
        np.testing.assert_allclose(code, tokens[donor], rtol=rounding(4))
        count[k], total[k] = 4.0, 4.0 * tokens[donor]
    # up to six averages in a row of counts of up to 12, and of sums of up to 12 numbers of up to 4
    off_count, off_total = rounding(6 * 3, 12), rounding(6 * 3, 4 * 12) + sum_tolerance(12, 4)
    np.testing.assert_allclose(book["count"], count, rtol=0, atol=off_count)
    vectors = total / count[:, None]
    off = (off_total + np.abs(vectors).max() * off_count) / count.min() + rounding(2, np.abs(vectors).max())
    np.testing.assert_allclose(vq_vae.vectors(book), vectors, rtol=0, atol=off)
    # the exponential of a sum of nine terms of up to 0.4, between 2 and 9
    np.testing.assert_allclose(perplexity, np.exp(entropy), rtol=sum_tolerance(9) + rounding(2))
  assert deaths >= 3


def test_gradient_goes_straight_through():
  rng = np.random.default_rng(2)
  tokens, chosen = (jnp.asarray(rng.normal(size=(2, 3, WIDTH)), jnp.float32) for _ in range(2))
  weight = rng.normal(size=(2, 3, WIDTH)).astype(np.float32)
  value, grads = jax.value_and_grad(
    lambda z: jnp.sum(weight * jnp.square(vq_vae.straight_through(z, chosen)))
  )(tokens)
  # 48 products of squares of numbers of up to 4; their slopes: two products; z + (c - z) is off by eps
  np.testing.assert_allclose(
    value, (weight * np.square(chosen)).sum(), rtol=0, atol=sum_tolerance(2 * 3 * WIDTH, 4)
  )
  # Taken at the codes, not at the tokens.
  np.testing.assert_allclose(grads, 2 * weight * chosen, rtol=0, atol=rounding(8, 2 * 4))


@pytest.mark.slow
def test_terms_are_equation_3_and_the_optimiser_leaves_the_codebook_alone(method):
  config = tiny("vq_vae")
  nets, pictures = vq_vae.networks(config), images()
  start, update = fresh(method)
  state, _ = update(start, {"image": pictures}, jax.random.key(0))  # the codebook now lies among the tokens
  params = state.params

  tokens_of = compiled(lambda params: vq_vae.tokens(params, pictures, nets, config))

  @compiled
  def decoder(params, z):
    return nets["decoder"].apply({"params": params["decoder"]}, z)

  z = np.asarray(tokens_of(params), np.float64).reshape(-1, WIDTH)
  codebook = state.model_state["codebook"]
  codes = np.asarray(codebook["total"], np.float64) / np.asarray(codebook["count"], np.float64)[:, None]
  index = naive_nearest(z, codes)
  quantised = codes[index].reshape(B, D)
  decoded = np.tanh(np.asarray(decoder(params, jnp.asarray(quantised, jnp.float32)), np.float64))
  expected = {
    "reconstruction": 0.5 * np.square(pictures - decoded).sum() / B,
    "commitment": np.square(z - codes[index]).sum() / B,
  }
  again, metrics = update(state, {"image": pictures}, jax.random.key(1))
  # sums over pixels of squares of up to 4, whose slope is up to 2; sums over tokens of squares of differences
  size = max(1.0, np.abs(z).max())
  off = {
    "reconstruction": sum_tolerance(PIXELS, 2) + PIXELS * 2 * OFF,
    "commitment": sum_tolerance(D, size**2) + D * 2 * size * OFF,
  }
  for name, value in expected.items():
    np.testing.assert_allclose(
      metrics[name][0] / metrics[name][1], value, rtol=0, atol=off[name], err_msg=name
    )
  loss = expected["reconstruction"] + 0.25 * expected["commitment"]
  np.testing.assert_allclose(metrics["loss"][0] / B, loss, rtol=0, atol=sum(off.values()))
  assert len(set(index)) > 1
  np.testing.assert_allclose(
    compiled(method.encode)(params | {"model_state": state.model_state}, pictures)["codes"],
    quantised,
    rtol=0,
    atol=rounding(4, size),  # a quotient
  )
  # weight decay or the gradient would show here
  tokens = jnp.asarray(z, jnp.float32)
  book, _ = jax.jit(lambda *words: vq_vae.update_codebook(*words, None, config))(
    codebook, tokens, jnp.asarray(index), jax.random.key(1)
  )
  for name in book:
    # sums of up to 32 tokens, as exact as the network
    off = 32 * size * OFF
    np.testing.assert_allclose(again.model_state["codebook"][name], book[name], rtol=0, atol=off)
  assert "codebook" not in again.params and "codebook" not in again.ema


def test_reconstruction_reaches_the_encoder_and_commitment_the_tokens_alone(method):
  config = tiny("vq_vae")
  state, nets = fresh(method)[0], vq_vae.networks(config)
  params, codebook = state.params, state.model_state["codebook"]

  def terms(params, name):
    return vq_vae.loss_terms(params, codebook, {"image": images()}, None, nets=nets, config=config)[0][name]

  def size(tree):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))

  @compiled
  def gradients(params):
    names = ("reconstruction", "commitment")
    return {name: jax.grad(lambda params, name=name: terms(params, name))(params) for name in names}

  grads = gradients(params)
  for name, reached in (
    ("reconstruction", {"encoder", "tokens", "decoder"}),
    ("commitment", {"encoder", "tokens"}),
  ):
    assert {net for net, tree in grads[name].items() if size(tree) > 0} == reached


@pytest.mark.slow
def test_four_devices_equal_one(method):
  one, many = four_devices_equal_one(method)

  def codes(state):
    return np.asarray(vq_vae.vectors(state.model_state["codebook"]))

  # means of tokens, which are as exact as the network
  largest = np.abs(codes(one)).max()
  np.testing.assert_allclose(codes(many), codes(one), rtol=0, atol=4 * OFF * max(1.0, largest))


def test_validation_ignores_padding_and_decodes_the_codes(method):
  state, scores = validation_ignores_padding(method)
  nets = vq_vae.networks(tiny("vq_vae"))
  decoded = compiled(lambda params: baseline.decode(params, method.encode(params, images())["codes"], nets))(
    inference_variables(state)
  )[:3]
  error = np.asarray(images()[:3], np.float64) - np.asarray(decoded, np.float64)
  # three pictures' sums of squares of up to 4, whose slope is up to 2; a mean of differences of up to 2
  off = 3 * (sum_tolerance(PIXELS, 2) + PIXELS * 2 * OFF)
  expected = 0.5 * np.square(error).sum()
  np.testing.assert_allclose(scores["val/reconstruction"][0], expected, rtol=0, atol=off)
  off = mean_tolerance(PIXELS, 2) + OFF
  np.testing.assert_allclose(scores["val/l1"][0] / 3, np.abs(error).mean(), rtol=0, atol=off)


def test_samples_are_made_of_the_pictures_codes(method, monkeypatch):
  seen = []

  def decode(params, z, nets):
    seen.append(z)
    return jnp.asarray(images())

  monkeypatch.setattr(baseline, "decode", decode)
  params = fresh(method)[0].params
  codes = jnp.asarray(np.random.default_rng(3).normal(size=(K, WIDTH)), jnp.float32)
  params = params | {"model_state": {"codebook": {"count": jnp.ones(K), "total": codes}}}
  monkeypatch.setattr(vq_vae, "nearest", lambda tokens, codes: jnp.arange(B * D // WIDTH).reshape(B, -1) % K)

  @compiled
  def decoded(params):
    method.pictures(params, images())
    return list(seen)

  codes, sample = (np.asarray(z).reshape(B, -1, WIDTH) for z in decoded(params))
  for place in range(D // WIDTH):
    assert all(any(np.array_equal(vector, donor) for donor in codes[:, place]) for vector in sample[:, place])
  assert not np.array_equal(codes, sample)


@pytest.mark.slow
def test_loss_falls(method):
  seen = losses_of_overfit(method, 60, ("reconstruction", "perplexity"))
  assert np.mean(seen["reconstruction"][-5:]) < 0.5 * seen["reconstruction"][0]
  assert all(1 <= value <= K for value in seen["perplexity"]) and seen["perplexity"][-1] > 3


def test_code_size_divides_the_representation():
  config = tiny("vq_vae")
  config.vq_vae.code_dim = 7
  with pytest.raises(UserError, match=r"config.vq_vae.code_dim = 7: must divide the representation's 32"):
    validate(config, 1)


@pytest.mark.slow
def test_trains_and_resumes(method, tmp_path):
  trains_and_resumes(tiny("vq_vae"), method, tmp_path)
