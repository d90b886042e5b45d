"""PrGAN: steps over several devices, when the judge learns, views, and what it gives."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.method_checks import vector

from pdr_jax import methods
from pdr_jax.config import base
from pdr_jax.config_checks import validate
from pdr_jax.methods import inference_variables, prgan
from pdr_jax.training import step as steps

B, S = 8, 28


def tiny(ceiling=1.0):
  config = base("prgan")
  config.data.side = S
  config.train.batch_size = B
  config.prgan.update(noise=4, width_generator=4, width_judge=4, samples=6, density_start=-3.0)
  config.prgan.ceiling = ceiling
  validate(config, 4)
  return config


def images(seed=0):
  rng = np.random.default_rng(seed)
  pictures = np.full((B, S, S, 1), -1.0, np.float32)
  for picture, (row, column) in zip(pictures, rng.integers(3, 12, (B, 2)), strict=True):
    picture[row : row + 12, column : column + 8] = 1
  return pictures


@lru_cache
def start():
  method = methods.create(tiny())
  return method, jax.jit(method.init)(steps.stream(0, "init"), {"image": images()})


@pytest.mark.slow
def test_four_devices_take_the_step_of_one_and_inference_works():
  method, state = start()
  root = steps.stream(3, "update")
  one, metrics = jax.jit(partial(method.update, axis_name=None))(
    state, {"image": images()}, jax.random.fold_in(root, 0)
  )
  many, many_metrics = steps.update_fn(method)(
    steps.replicate(state), steps.place({"image": images()}), root
  )
  fetched = many_metrics.fetch()
  for name, (total, count) in metrics.items():
    np.testing.assert_allclose(fetched[name], [total, count], rtol=2e-3, atol=1e-4, err_msg=name)
  judges = one.opt_state["judge"], many.opt_state["judge"]
  for mine, theirs in ((one.model_state, many.model_state), judges):
    a, b = vector(mine), vector(jax.device_get(theirs))
    assert np.linalg.norm(a - b) < 0.01 * np.linalg.norm(a)
  assert vector(one.params["judge"]).tolist() != vector(state.params["judge"]).tolist()
  variables = inference_variables(one)
  made = method.generate(variables, jax.random.key(0), 3)
  assert made.shape == (3, S, S, 1) and np.abs(made).max() <= 1
  assert method.encode(variables, images())["features"].shape[0] == B
  mask = np.ones(B, np.float32)
  scores = method.validate(one, {"image": images(), "_mask": mask}, None)
  assert float(scores["val/nearest"][1]) == B and float(scores["val/nearest"][0]) > 0


@pytest.mark.slow
def test_a_judge_that_is_too_good_waits():
  _, state = start()
  method = methods.create(tiny(ceiling=0.0))
  after, metrics = jax.jit(partial(method.update, axis_name=None))(
    state, {"image": images()}, jax.random.key(1)
  )
  if float(metrics["right"][0]) > 0:
    np.testing.assert_array_equal(vector(after.params["judge"]), vector(state.params["judge"]))
  assert int(after.opt_state["generator"][0].count) == 2  # a step in the game, a step on the features


def test_views_turn_by_45_degrees_and_one_is_from_above():
  density = jnp.zeros((1, S, S, S)).at[0, 12:16, 4:8, 6:22].set(5.0)  # long along x, high up
  density = jnp.repeat(density, 4, axis=0)
  pictures = prgan.seen(density, jnp.array([0, 2, 4, 8]))[..., 0] > 0
  wide = [int(picture.any(axis=0).sum()) for picture in pictures]
  high = [int(picture.any(axis=1).sum()) for picture in pictures]
  assert wide == [16, 4, 16, 16] and high == [4, 4, 4, 4]
  rows = np.flatnonzero(np.asarray(pictures[3].any(axis=1)))
  assert rows.tolist() == [12, 13, 14, 15]  # from above the rows are z
