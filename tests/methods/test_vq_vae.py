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

from pdr_jax import methods
from pdr_jax.config_checks import validate
from pdr_jax.errors import UserError
from pdr_jax.methods import inference_variables, vq_vae
from pdr_jax.methods.shared import baseline

K, WIDTH = 12, 8


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
        np.testing.assert_allclose(code, tokens[donor], rtol=1e-5, atol=1e-6)
        count[k], total[k] = 4.0, 4.0 * tokens[donor]
    np.testing.assert_allclose(book["count"], count, rtol=1e-4)
    np.testing.assert_allclose(vq_vae.vectors(book), total / count[:, None], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(perplexity, np.exp(entropy), rtol=1e-5)
  assert deaths >= 3


def test_gradient_goes_straight_through():
  rng = np.random.default_rng(2)
  tokens, chosen = (jnp.asarray(rng.normal(size=(2, 3, WIDTH)), jnp.float32) for _ in range(2))
  weight = rng.normal(size=(2, 3, WIDTH)).astype(np.float32)
  value, grads = jax.value_and_grad(
    lambda z: jnp.sum(weight * jnp.square(vq_vae.straight_through(z, chosen)))
  )(tokens)
  np.testing.assert_allclose(value, (weight * np.square(chosen)).sum(), rtol=1e-4)
  # Taken at the codes, not at the tokens.
  np.testing.assert_allclose(grads, 2 * weight * chosen, rtol=1e-4, atol=1e-5)


def test_terms_are_equation_3_and_the_optimiser_leaves_the_codebook_alone(method):
  config = tiny("vq_vae")
  nets, pictures = vq_vae.networks(config), images()
  start, update = fresh(method)
  state, _ = update(start, {"image": pictures}, jax.random.key(0))  # the codebook now lies among the tokens
  params = state.params

  def apply(net, x):
    return compiled(nets[net].apply)({"params": params[net]}, x)

  z = np.asarray(apply("tokens", apply("encoder", pictures)), np.float64).reshape(-1, WIDTH)
  codebook = state.model_state["codebook"]
  codes = np.asarray(codebook["total"], np.float64) / np.asarray(codebook["count"], np.float64)[:, None]
  index = naive_nearest(z, codes)
  quantised = codes[index].reshape(B, D)
  decoded = np.tanh(np.asarray(apply("decoder", jnp.asarray(quantised, jnp.float32)), np.float64))
  expected = {
    "reconstruction": 0.5 * np.square(pictures - decoded).sum() / B,
    "commitment": np.square(z - codes[index]).sum() / B,
  }
  again, metrics = update(state, {"image": pictures}, jax.random.key(1))
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name][0] / metrics[name][1], value, rtol=1e-3, err_msg=name)
  loss = expected["reconstruction"] + 0.25 * expected["commitment"]
  np.testing.assert_allclose(metrics["loss"][0] / B, loss, rtol=1e-3)
  assert len(set(index)) > 1
  np.testing.assert_allclose(
    compiled(method.encode)(params | {"model_state": state.model_state}, pictures)["codes"],
    quantised,
    rtol=1e-3,
    atol=1e-5,
  )
  # weight decay or the gradient would show here
  tokens = jnp.asarray(z, jnp.float32)
  book, _ = vq_vae.update_codebook(codebook, tokens, jnp.asarray(index), jax.random.key(1), None, config)
  for name in book:
    np.testing.assert_allclose(again.model_state["codebook"][name], book[name], rtol=1e-4, atol=1e-5)
  assert "codebook" not in again.params and "codebook" not in again.ema


def test_reconstruction_reaches_the_encoder_and_commitment_the_tokens_alone(method):
  config = tiny("vq_vae")
  state, nets = fresh(method)[0], vq_vae.networks(config)
  params, codebook = state.params, state.model_state["codebook"]

  def terms(params, name):
    return vq_vae.loss_terms(params, codebook, {"image": images()}, None, nets=nets, config=config)[0][name]

  def size(tree):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))

  grads = {
    name: compiled(jax.grad(lambda params, name=name: terms(params, name)))(params)
    for name in ("reconstruction", "commitment")
  }
  for name, reached in (
    ("reconstruction", {"encoder", "tokens", "decoder"}),
    ("commitment", {"encoder", "tokens"}),
  ):
    assert {net for net, tree in grads[name].items() if size(tree) > 0} == reached


def test_four_devices_equal_one(method):
  one, many = four_devices_equal_one(method)

  def codes(state):
    return np.asarray(vq_vae.vectors(state.model_state["codebook"]))

  np.testing.assert_allclose(codes(many), codes(one), rtol=0, atol=2e-4 * np.abs(codes(one)).max())


def test_validation_ignores_padding_and_decodes_the_codes(method):
  state, scores = validation_ignores_padding(method)
  nets = vq_vae.networks(tiny("vq_vae"))
  decoded = compiled(lambda params: baseline.decode(params, method.encode(params, images())["codes"], nets))(
    inference_variables(state)
  )[:3]
  error = np.asarray(images()[:3], np.float64) - np.asarray(decoded, np.float64)
  np.testing.assert_allclose(scores["val/reconstruction"][0], 0.5 * np.square(error).sum(), rtol=1e-4)
  np.testing.assert_allclose(scores["val/l1"][0] / 3, np.abs(error).mean(), rtol=1e-4)


def test_samples_are_made_of_the_pictures_codes(method, monkeypatch):
  seen = []

  def decode(params, z, nets):
    seen.append(np.asarray(z))
    return jnp.asarray(images())

  monkeypatch.setattr(baseline, "decode", decode)
  params = fresh(method)[0].params
  codes = jnp.asarray(np.random.default_rng(3).normal(size=(K, WIDTH)), jnp.float32)
  params = params | {"model_state": {"codebook": {"count": jnp.ones(K), "total": codes}}}
  monkeypatch.setattr(vq_vae, "nearest", lambda tokens, codes: jnp.arange(B * D // WIDTH).reshape(B, -1) % K)
  method.pictures(params, images())
  codes, sample = (z.reshape(B, -1, WIDTH) for z in seen)
  for place in range(D // WIDTH):
    assert all(any(np.array_equal(vector, donor) for donor in codes[:, place]) for vector in sample[:, place])
  assert not np.array_equal(codes, sample)


def test_loss_falls(method):
  seen = losses_of_overfit(method, 60, ("reconstruction", "perplexity"))
  assert np.mean(seen["reconstruction"][-5:]) < 0.5 * seen["reconstruction"][0]
  assert all(1 <= value <= K for value in seen["perplexity"]) and seen["perplexity"][-1] > 3


def test_code_size_divides_the_representation():
  config = tiny("vq_vae")
  config.vq_vae.code_dim = 7
  with pytest.raises(UserError, match=r"config.vq_vae.code_dim = 7: must divide the representation's 32"):
    validate(config, 1)


def test_trains_and_resumes(method, tmp_path):
  trains_and_resumes(tiny("vq_vae"), method, tmp_path)
