"""Several steps in one dispatch are the same steps: numbers, logs, checkpoints, stops and failures.

A trace of some steps is made too.
"""

import glob
import gzip
import itertools
import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import toy
from support.toy import interrupted, records, run, saved_state

from pdr_jax.errors import UserError
from pdr_jax.training import cadence, nonfinite, preemption
from pdr_jax.training import step as steps


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  """An uninterrupted run of 12 steps, each dispatched alone."""
  workdir = tmp_path_factory.mktemp("alone")
  run(workdir)
  return workdir


def same_run(a, b):
  (a_step, a_state, a_run), (b_step, b_state, b_run) = saved_state(a), saved_state(b)
  assert a_step == b_step == 12 and a_run["position"] == b_run["position"]
  jax.tree.map(np.testing.assert_array_equal, a_state, b_state)
  assert a_run["meter"] == b_run["meter"] and records(a) == records(b)


@pytest.mark.parametrize("size, expected", [
    (1, [[k] for k in range(1, 13)]),
    (2, [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10], [11, 12]]),
    (3, [[1, 2, 3], [4], [5], [6], [7], [8], [9], [10, 11, 12]]),  # 4 and 8 are validated
    (4, [[1, 2, 3, 4], [5], [6], [7], [8], [9, 10, 11, 12]]),      # 6 has gradient norms
    (5, [[k] for k in range(1, 13)]),
])
def test_which_steps_go_together(size, expected):
  train = toy.config(steps_per_dispatch=size).train
  assert [list(together) for together in cadence.dispatches(0, train)] == expected
  # A run stops between dispatches; what continues it goes on with the same ones.
  for k in range(len(expected)):
    start = expected[k][-1]
    assert [list(together) for together in cadence.dispatches(start, train)] == expected[k + 1 :]
  # From a checkpoint in the middle, where a run with another number left one: alone up to the next multiple,
  # and all steps once.
  for start in range(12):
    rest = [list(together) for together in cadence.dispatches(start, train)]
    assert list(itertools.chain(*rest)) == list(range(start + 1, 13)) and all(
      len(part) in (1, size) for part in rest
    )


@pytest.mark.parametrize("size", [2, 3])
def test_together_equals_alone_bit_for_bit(alone, tmp_path, size):
  run(tmp_path, toy.config(steps_per_dispatch=size))
  same_run(alone, tmp_path)


def test_stopped_and_resumed_in_the_middle_equals_alone(alone, tmp_path):
  """SIGTERM while the batches of steps 5 to 8 are drawn: it stops after them.

  And from step 6, which a run without dispatches left.
  """
  quiet = dict(validate_every=12, checkpoint_every=12, gradient_norms_every=0, log_every=5)
  whole = [name for name in ("together", "stopped", "middle")]
  folders = {name: tmp_path / name for name in whole}
  together = toy.config(steps_per_dispatch=4, **quiet)
  run(folders["together"], together)

  def stop():
    return os.kill(os.getpid(), signal.SIGTERM)

  assert run(folders["stopped"], together, data=interrupted(6, stop)).exit_code == preemption.AGAIN
  assert saved_state(folders["stopped"])[0] == 8
  run(folders["stopped"], together)
  assert run(folders["middle"], toy.config(**quiet), data=interrupted(6, stop)).exit_code == preemption.AGAIN
  assert saved_state(folders["middle"])[0] == 6
  again = toy.data()
  run(folders["middle"], together, data=again, override_config=True)
  assert again.train.drawn[:2] == [6, 7]
  for name in whole[1:]:
    same_run(folders["together"], folders[name])
  jax.tree.map(np.testing.assert_array_equal, saved_state(alone)[1], saved_state(folders["together"])[1])


def broken(*numbers):
  """The toy method whose updates with these zero-based numbers are not finite."""
  plain = toy.method()

  def update(state, batch, rng, axis_name):
    poison = jnp.where(jnp.isin(state.step, jnp.array(numbers)), jnp.nan, 0.0)
    state, metrics = plain.update(state, batch, rng, axis_name)
    state = state.replace(params=jax.tree.map(lambda leaf: leaf + poison, state.params))
    return state, metrics | {"loss": (metrics["loss"][0] + poison, metrics["loss"][1])}

  return plain._replace(update=update)


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_found_among_those_that_went_together(tmp_path):
  method, cadences = (
    broken(5),
    dict(validate_every=4, checkpoint_every=4, gradient_norms_every=4, log_every=1),
  )
  for name, size in (("alone", 1), ("together", 4)):
    with pytest.raises(UserError, match=r"loss is nan at step 6; .*checkpoint of step 4"):
      run(tmp_path / f"stops {name}", toy.config(steps_per_dispatch=size, **cadences), method=method)
    folder = tmp_path / f"skips {name}"
    run(folder, toy.config(steps_per_dispatch=size, skip_nonfinite=1, **cadences), method=method)
    for where in (folder, tmp_path / f"stops {name}"):
      assert [os.path.basename(path) for path in glob.glob(str(where / nonfinite.FOLDER / "*"))] == [
        "step_00000006_process_0.npz"
      ]
      batch = np.load(where / nonfinite.FOLDER / "step_00000006_process_0.npz", allow_pickle=False)
      np.testing.assert_array_equal(batch["image"], toy.images(8, seed=6))
  assert [line["train/skipped"] for line in records(folder) if "train/skipped" in line] == [
    float(k == 6) for k in range(1, 13)
  ]
  same_run(tmp_path / "skips alone", tmp_path / "skips together")
  assert records(tmp_path / "stops alone") == records(tmp_path / "stops together")


def test_state_is_donated_and_metrics_come_step_by_step():
  method, root = toy.method(), steps.stream(0, "update")
  batches = [{"image": toy.images(8, seed=k)} for k in range(3)]
  one = steps.initial_state(method, 0, batches[0])
  many = before = steps.initial_state(method, 0, batches[0])
  expected = []
  for batch in batches:
    one, metrics = steps.update_fn(method)(one, steps.place(batch), root)
    expected += metrics.each()
  many, metrics = steps.updates_fn(method)(many, [steps.place(batch) for batch in batches], root)
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.params)) and int(many.step) == 3
  jax.tree.map(np.testing.assert_array_equal, metrics.each(), expected)
  assert len({values["loss"][0] for values in expected}) == 3


def test_a_trace_of_some_steps_changes_no_number(alone, tmp_path):
  run(tmp_path, toy.config(profile_steps=(3, 5)))
  same_run(alone, tmp_path)
  assert glob.glob(str(tmp_path / "profile/**/*.xplane.pb"), recursive=True)
  trace, = glob.glob(str(tmp_path / "profile/**/*.trace.json.gz"), recursive=True)
  with gzip.open(trace, "rt") as file:
    events = json.load(file)["traceEvents"]
  traced = {
    int(event["args"]["step_num"])
    for event in events
    if event.get("name") == "train" and "step_num" in event.get("args", {})
  }
  assert traced == {3, 4, 5}
