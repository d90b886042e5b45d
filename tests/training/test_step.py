"""N devices compute what one computes; state is replicated and donated; streams; packing."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import runs, toy

from pdr_jax.training import step as steps


@pytest.fixture(scope="module")
def method():
  return toy.method()


def batch_of(count=8, seed=1):
  return {"image": toy.images(count, seed)}


def test_four_devices_compute_what_one_computes(method):
  assert jax.local_device_count() == 4
  state = steps.initial_state(method, 0, batch_of())
  alone = jax.device_get(jax.jit(method.init)(steps.stream(0, "init"), batch_of()))
  root, update, norms_of = steps.stream(0, "update"), steps.update_fn(method), steps.gradient_norms_fn(method)
  update_one, norms_of_one = (
    jax.jit(lambda *a, f=f: f(*a, None)) for f in (method.update, method.gradient_norms)
  )
  for k in range(3):
    batch = batch_of(seed=k)
    norms = norms_of(state, steps.place(batch), root).fetch()
    state, metrics = update(state, steps.place(batch), root)
    rng = jax.random.fold_in(root, k)
    (norm, _), = norms_of_one(alone, batch, rng).values()
    alone, expected = update_one(alone, batch, rng)
    off = runs.toy_tolerance(k + 1)
    np.testing.assert_allclose(norms["gradient_norm/photometric"], [norm, 1], rtol=off, atol=off)
    for name, (total, count) in expected.items():
      np.testing.assert_allclose(metrics.fetch()[name], [total, count], rtol=off, atol=8 * off)
    assert metrics.fetch()["loss"][1] == 8
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=off),
    jax.device_get(state),
    jax.device_get(alone),
  )


def test_validation_over_devices_and_padding_is_the_mean_over_images(method):
  state = steps.initial_state(method, 0, batch_of())
  total = np.zeros(2)
  for batch in toy.data().validation:
    total += steps.validate_fn(method)(state, steps.place(batch)).fetch()["val/error"]
  images, params = toy.images(16, 10**6)[:12].astype(np.float64), jax.device_get(state.params)
  expected = np.mean(np.square(images @ params["w"] + params["b"] - images[..., :1]), axis=(1, 2, 3))
  assert total[1] == 12
  np.testing.assert_allclose(total[0] / total[1], expected.mean(), rtol=runs.toy_tolerance(0))


def test_state_is_replicated_and_its_buffers_are_donated(method):
  state = steps.initial_state(method, 0, batch_of())
  before = state
  with warnings.catch_warnings():
    warnings.simplefilter("error")  # JAX warns when a donated buffer cannot be used
    state, _ = steps.update_fn(method)(state, steps.place(batch_of()), steps.stream(0, "update"))
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.params))
  for leaf in jax.tree.leaves(state):
    assert leaf.sharding.is_fully_replicated and len(leaf.sharding.device_set) == 4
    shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
    assert all(np.array_equal(shards[0], shard) for shard in shards)


def test_update_compiles_once(method):
  from jax._src import test_util

  state, update, root = (
    steps.initial_state(method, 0, batch_of()),
    steps.update_fn(method),
    steps.stream(0, "update"),
  )
  state, _ = update(state, steps.place(batch_of()), root)
  with test_util.count_jit_compilation_cache_miss() as misses:
    for k in range(3):
      state, _ = update(state, steps.place(batch_of(seed=k)), root)
  assert misses() == 0


def test_abstract_state_has_the_placement_of_the_real_one(method):
  real, abstract = steps.initial_state(method, 0, batch_of()), steps.abstract_state(method, 0, batch_of())
  for a, b in zip(jax.tree.leaves(real), jax.tree.leaves(abstract), strict=True):
    assert a.shape == b.shape and a.dtype == b.dtype and a.sharding.is_equivalent_to(b.sharding, a.ndim)


def test_streams_differ_by_name_step_and_seed_and_fold():
  def data(*words):
    return tuple(np.asarray(jax.random.key_data(steps.stream(*words))).tolist())

  keys = [data(0, "update"), data(0, "init"), data(1, "update"), data(0, "update", 0), data(0, "update", 1)]
  assert len(set(keys)) == len(keys)
  folded = jax.random.fold_in(steps.stream(0, "update"), jnp.int32(1))
  assert tuple(np.asarray(jax.random.key_data(folded)).tolist()) == data(0, "update", 1)


def test_first_nonfinite_names_the_leaf():
  tree = {"a": jnp.ones(3), "b": {"n": jnp.int32(1), "w": jnp.array([1.0, jnp.inf])}}
  assert steps.first_nonfinite(tree) == "b/w"
  assert steps.first_nonfinite({"a": tree["a"], "n": jnp.int32(3)}) is None
