"""A step that is not finite: its batch is kept.

By configuration the step is left out and counted, at most n in a row.
"""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import runs, toy

from pdr_jax.errors import UserError
from pdr_jax.training import loop, nonfinite, preemption
from pdr_jax.training import step as steps


def train(workdir, method, **keys):
  return loop.train(toy.config(log_every=1, **keys), str(workdir), method=method, data=toy.data())


def bad_at(*numbers, gradient_only: bool = False):
  """The toy method whose updates with these zero-based numbers are not finite."""
  plain = toy.method()

  def update(state, batch, rng, axis_name):
    poison = jnp.where(jnp.isin(state.step, jnp.array(numbers)), jnp.nan, 0.0)
    state, metrics = plain.update(state, batch, rng, axis_name)
    if not gradient_only:
      metrics = metrics | {"loss": (metrics["loss"][0] + poison, metrics["loss"][1])}
    return state.replace(params=jax.tree.map(lambda leaf: leaf + poison, state.params)), metrics

  return plain._replace(update=update)


def oracle(left_out):
  """Twelve steps one by one on one device; what an update left out does not give, the old state keeps."""
  method = toy.method()
  state, update = (
    jax.jit(method.init)(steps.stream(0, "init"), toy.data().validation[0]),
    jax.jit(lambda *a: method.update(*a, None)),
  )
  for k in range(12):
    new, _ = update(state, {"image": toy.images(8, seed=k + 1)}, steps.stream(0, "update", k))
    state = state.replace(step=new.step) if k in left_out else new
  return state


@pytest.mark.parametrize("gradient_only", [False, True])
def test_a_step_is_left_out_counted_and_its_batch_kept(tmp_path, capsys, gradient_only):
  result = train(tmp_path, bad_at(6, 9, gradient_only=gradient_only), skip_nonfinite=1)
  assert result.exit_code == 0
  out = capsys.readouterr().out
  term = "gradient" if gradient_only else "loss"
  assert (
    f"{term} is nan at step 7: step left out (1 in a row of at most 1)" in out
    and f"{term} is nan at step 10" in out
  )
  skipped = {
    line["step"]: line["train/skipped"] for line in runs.records(tmp_path) if "train/skipped" in line
  }
  assert skipped == {step: float(step in (7, 10)) for step in range(1, 13)}
  batch = np.load(tmp_path / nonfinite.FOLDER / "step_00000007_process_0.npz", allow_pickle=False)
  np.testing.assert_array_equal(batch["image"], toy.images(8, seed=7))
  wanted, got = oracle({6, 9}), runs.arrays(tmp_path, 12)
  for name in ("w", "b"):
    near = dict(rtol=0, atol=runs.toy_tolerance(12))
    np.testing.assert_allclose(got[f"params/{name}"], wanted.params[name], **near)
  far = np.abs(got["params/w"] - oracle(set()).params["w"]).max()
  assert far > 100 * runs.toy_tolerance(12)


def test_more_in_a_row_than_allowed_stop_the_run(tmp_path):
  with pytest.raises(
    UserError,
    match=r"loss is nan at step 8; its batch is in .*step_00000008_process_0.npz: .* stopped, .* step 4",
  ):
    train(tmp_path / "two", bad_at(6, 7), skip_nonfinite=1)
  assert train(tmp_path / "three", bad_at(5, 6, 9), skip_nonfinite=2).exit_code == 0


def test_a_stop_within_the_row_does_not_begin_it_anew(tmp_path):
  stopping = toy.interrupted(7, lambda: os.kill(os.getpid(), signal.SIGTERM))
  config = toy.config(log_every=1, skip_nonfinite=1)
  assert toy.run(tmp_path, config, method=bad_at(6, 7), data=stopping).exit_code == preemption.AGAIN
  assert runs.newest(tmp_path) == 7
  with pytest.raises(UserError, match=r"loss is nan at step 8; .* the checkpoint of step 7 .* is intact"):
    train(tmp_path, bad_at(6, 7), skip_nonfinite=1)


class Spoilt(toy.Interrupted):
  """The batch of step 6 is NaN, where gradient norms are due."""

  def __next__(self):
    batch = super().__next__()
    return batch | {"image": np.full_like(batch["image"], np.nan)} if self._next == 6 else batch


def test_a_step_that_is_left_out_has_no_gradient_norms(tmp_path):
  """Stopped there and continued, the run equals one left alone bit for bit."""
  config = toy.config(log_every=1, skip_nonfinite=1)

  def spoilt(at, act=None):
    return toy.data()._replace(train=Spoilt(8, at, act))

  stop = spoilt(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
  whole, cut = tmp_path / "whole", tmp_path / "cut"
  assert toy.run(whole, config, data=spoilt(-1)).exit_code == 0
  assert toy.run(cut, config, data=stop).exit_code == preemption.AGAIN and runs.newest(cut) == 6
  assert toy.run(cut, config, data=spoilt(-1)).exit_code == 0
  assert runs.records(cut) == runs.records(whole)
  for name, value in runs.arrays(whole, 12).items():
    np.testing.assert_array_equal(runs.arrays(cut, 12)[name], value, err_msg=name)
  name = "gradient_norm/photometric"
  ((step, norm),) = [(line["step"], line[name]) for line in runs.records(whole) if name in line]
  # The state after step 12 and the noise of the number that it holds.
  batch, noise = {"image": toy.images(8, seed=12)}, steps.stream(0, "update", 12)
  wanted, _ = jax.jit(lambda *a: toy.method().gradient_norms(*a, None))(oracle({5}), batch, noise)[name]
  # The norm of 12 numbers is off by at most root 12 of what each of them is.
  assert step == 12 and norm == pytest.approx(float(wanted), rel=0, abs=12**0.5 * runs.toy_tolerance(12))


@pytest.mark.parametrize("gradient_only", [False, True])
def test_without_leave_the_first_one_stops_and_its_batch_is_kept(tmp_path, gradient_only):
  """Of the gradient alone one hears where the state is saved, which is step 8 here."""
  with pytest.raises(UserError, match=r"is nan at step 8; its batch is in"):
    train(tmp_path, bad_at(7, gradient_only=gradient_only), validate_every=12)
  batch = np.load(tmp_path / nonfinite.FOLDER / "step_00000008_process_0.npz", allow_pickle=False)
  np.testing.assert_array_equal(batch["image"], toy.images(8, seed=8))


def test_a_run_that_may_leave_steps_out_and_never_does_has_the_numbers_of_one_that_may_not(tmp_path):
  train(tmp_path / "a", toy.method())
  train(tmp_path / "b", toy.method(), skip_nonfinite=3)
  for name, value in runs.arrays(tmp_path / "a", 12).items():
    near = dict(rtol=0, atol=runs.toy_tolerance(12))
    np.testing.assert_allclose(value, runs.arrays(tmp_path / "b", 12)[name], **near, err_msg=name)
