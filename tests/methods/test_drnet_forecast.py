"""The second stage of DrNET on a first one with random weights: what it learns from, and in which units."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.programs import compiled
from support.tolerances import mean_tolerance, rounding

from pdr_jax import methods
from pdr_jax.config import base, variant
from pdr_jax.methods.contract import FIRST, MODEL_STATE, FirstStage, inference_variables
from pdr_jax.methods.drnet_forecast import POSES, SMALLEST

B, T, PAST = 3, 6, 4


@functools.cache
def first_stage(variants=""):
  config = base("drnet")
  config.data.update(side=32, channels=1, frames=T)
  config.drnet.update(width=2, content_size=4, pose_size=3)
  config = variant(config, variants)
  method = methods.create(config)
  state = compiled(method.init)(jax.random.key(0), {"clip": jnp.zeros((1, T, 32, 32, 1))})
  # Fresh networks draw grey pictures, whatever the pose is.
  drawing = jax.tree.map(lambda leaf: leaf * (8.0 if leaf.ndim > 1 else 1.0), inference_variables(state))
  return FirstStage(config, method, drawing)


def second(variants="", of_first="", remat=False):
  config = base("drnet_forecast")
  config.data.update(side=32, channels=1, frames=T)
  config.drnet_forecast.update(past=PAST, hidden=5)
  config.train.remat = remat
  return methods.create(variant(config, variants), first_stage(of_first))


@pytest.fixture(scope="module")
def clips():
  return jnp.asarray(np.random.default_rng(0).uniform(0, 1, (B, T, 32, 32, 1)), jnp.float32)


def statistics_before(poses):
  return {"mean": poses.mean((0, 1)) + 0.1, "var": poses.var((0, 1)) * 2}


def expected_poses(model, variables, poses, content, feed_back):
  """A loop over the frames: what is expected of frames 1 to T - 1."""
  state, pose, expected = model.net.start(B), None, []
  for t in range(T - 1):
    seen = pose if feed_back and t >= PAST else poses[:, t]
    state, pose = model.step(variables, state, seen, content)
    expected.append(pose)
  return np.stack(expected, axis=1).astype(np.float64)


@pytest.mark.slow
@pytest.mark.parametrize("variants", ["", "parity"])
def test_the_loss_is_of_poses_that_follow_foretold_ones_or_true_ones_in_their_units(variants, clips):
  method = second(variants)
  model = method.update.keywords["model"]
  state = compiled(method.init)(jax.random.key(1), {"clip": clips})
  content, poses = compiled(functools.partial(_embed, model))(state, clips)
  if variants:
    assert POSES not in state.model_state
  else:
    state = state.replace(model_state=state.model_state | {POSES: statistics_before(poses)})
  after, metrics = compiled(method.update, static_argnums=3)(state, {"clip": clips}, jax.random.key(2), None)
  variables = state.params | {MODEL_STATE: after.model_state}
  expected = expected_poses(model, variables, poses, content, feed_back=not variants)
  total, count = metrics["pose"]
  # Three layers of sums of up to ten products in each of five steps, of numbers of about 1.
  off = 15 * mean_tolerance(10, 1)
  np.testing.assert_allclose(total / count, ((expected - poses[:, 1:]) ** 2).mean(-1).sum(1).mean(), atol=off)
  if not variants:
    before = statistics_before(poses)
    for name, new in (("mean", poses.mean((0, 1))), ("var", poses.var((0, 1)))):
      np.testing.assert_allclose(
        after.model_state[POSES][name], 0.9 * before[name] + 0.1 * new, atol=rounding(B * T, 1)
      )


def _embed(model, state, clips):
  frozen = model.frozen({MODEL_STATE: state.model_state})
  return frozen.content(clips[:, PAST - 1])[0], frozen.poses(clips)


@pytest.mark.parametrize("of_first", ["", "autoencoder"])
def test_a_forecast_decodes_the_poses_that_follow_the_given_frames(of_first, clips):
  """An auto-encoder has no content: its one vector is foretold."""
  method = second(of_first=of_first)
  model, frames = method.update.keywords["model"], T - PAST
  state = compiled(method.init)(jax.random.key(1), {"clip": clips})
  variables = inference_variables(state)

  def decoded(variables, clips, poses):
    frozen = model.frozen(variables)
    content, skips = frozen.content(clips[:, PAST - 1])
    return jnp.stack([frozen.decode(content, skips, pose) for pose in poses], axis=1)

  content, poses = compiled(functools.partial(_embed, model))(state, clips)
  expected = expected_poses(model, variables, poses, content, feed_back=True)[:, PAST - 1 :]
  foretold = compiled(method.forecast, static_argnums=2)(variables, clips[:, :PAST], frames)
  said = [jnp.asarray(expected[:, t], jnp.float32) for t in range(frames)]
  true = compiled(decoded)(variables, clips, said)
  assert foretold.shape == true.shape == (B, frames, 32, 32, 1)
  off = 25 * mean_tolerance(100, 1)  # 15 layers of sums to the poses, ten to the pictures
  np.testing.assert_allclose(foretold, true, rtol=0, atol=off)
  assert np.abs(true[:, 0] - true[:, 1]).max() > 4 * off  # frames differ


def test_poses_are_read_and_said_in_units_of_their_spread(clips):
  """With networks that say nothing, the mean pose is expected; a wider spread makes the same words larger."""
  model = second().update.keywords["model"]
  model = model._replace(first=model.first.copy_and_resolve_references())
  model.first.drnet.unit_length = False
  rng = np.random.default_rng(3)
  mean, pose = jnp.asarray(rng.normal(size=3), jnp.float32), jnp.asarray(rng.normal(size=(B, 3)), jnp.float32)
  content = jnp.zeros((B, 4))
  start = model.net.start(B)
  params = model.net.init(jax.random.key(4), start, jnp.zeros((B, 7)))["params"]

  def said(var, params, pose):
    poses = {"mean": mean, "var": jnp.full(3, var - SMALLEST)}
    return model.step({"predictor": params, MODEL_STATE: {POSES: poses}}, start, pose, content)[1]

  silent = jax.tree.map(jnp.zeros_like, params)
  np.testing.assert_array_equal(said(4.0, silent, pose), jnp.broadcast_to(mean, (B, 3)))
  # The same number of deviations from the mean.
  narrow, wide = said(1.0, params, pose), said(4.0, params, mean[None] + 2 * (pose - mean[None]))
  np.testing.assert_allclose(wide - mean[None], 2 * (narrow - mean[None]), rtol=0, atol=rounding(20, 4))


def test_the_first_stage_stays(clips):
  method = second()
  state = compiled(method.init)(jax.random.key(1), {"clip": clips})
  after, _ = compiled(method.update, static_argnums=3)(state, {"clip": clips}, jax.random.key(2), None)
  jax.tree.map(np.testing.assert_array_equal, state.model_state[FIRST], after.model_state[FIRST])


def test_steps_of_the_recurrent_network_are_recomputed_where_asked(clips):
  """The backward passes of both loops, that over true frames and that over foretold ones."""
  counts = []
  for remat in (False, True):
    method = second(remat=remat)
    state = jax.eval_shape(method.init, jax.random.key(1), {"clip": clips})
    update = jax.jit(functools.partial(method.update, axis_name=None))
    program = update.lower(state, {"clip": clips}, jax.random.key(2))
    counts.append(program.as_text().count("optimization_barrier"))
  assert counts == [0, 2]
