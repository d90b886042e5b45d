"""A run that stops because its validation does not improve, and what a run has cost."""

import json
import os
import signal

import jax
import numpy as np
import pytest
from support import toy
from support.toy import interrupted, records, run, saved_state

from pdr_jax.training import preemption, run_dir
from pdr_jax.training.cadence import out_of_patience

WHY = "step 16: val/distance not better since step 8, for 25 % of 32 steps"


def settings(**train):
  """`val/distance` is lowest after seven steps: of those that are looked at, after eight."""
  return toy.config(**dict(steps=32, patience=0.25, best_metric="val/distance") | train)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A run that stops after 16 of 32 steps."""
  workdir = tmp_path_factory.mktemp("whole")
  return workdir, run(workdir, settings())


def test_it_stops_and_says_why(whole, capsys):
  workdir, result = whole
  summary = result.summary
  assert result.exit_code == 0 and saved_state(workdir)[0] == 16
  assert (summary["step"], summary["steps"], summary["stopped"]) == (16, 32, WHY)
  assert summary["best"] == {"step": 8, "value": 1.0, "metric": "val/distance", "checkpoint": 8}
  assert json.loads((workdir / run_dir.SUMMARY).read_text()) == summary
  again = toy.data()
  assert run(workdir, settings(), data=again).summary["stopped"] == WHY
  assert len(again.train.drawn) <= 2  # what is read ahead, and nothing is trained
  assert WHY in capsys.readouterr().out and saved_state(workdir)[0] == 16


@pytest.mark.parametrize("at", [11, 16])
def test_resumed_it_stops_at_the_same_step_bit_for_bit(whole, tmp_path, at):
  """At step 16 the validation that ends the run is made up for."""
  stop = interrupted(at, lambda: os.kill(os.getpid(), signal.SIGTERM))
  assert run(tmp_path, settings(), data=stop).exit_code == preemption.AGAIN
  assert run(tmp_path, settings()).summary["stopped"] == WHY
  (step, a, about), (_, b, _) = saved_state(tmp_path), saved_state(whole[0])
  assert step == 16 and about["position"] == {"batch": 16}
  jax.tree.map(np.testing.assert_array_equal, a, b)
  assert records(tmp_path) == records(whole[0])


def test_a_longer_run_has_more_patience_and_goes_on(whole, tmp_path):
  run(tmp_path, settings())
  summary = run(tmp_path, settings(steps=64)).summary
  assert summary["step"] == 24 and summary["stopped"].startswith("step 24")


def test_a_run_with_another_best_metric_waits_for_that_one(whole, tmp_path):
  """`val/error` is below `val/distance` all the time: no distance is better than that number."""
  run(tmp_path, settings(steps=4, best_metric="val/error"))
  assert run(tmp_path, settings(), override_config=True).summary["stopped"] == WHY


def test_without_patience_all_steps_are_taken(tmp_path):
  assert run(tmp_path, toy.config(best_metric="val/distance")).summary["stopped"] == "all 12 steps"


@pytest.mark.parametrize("step, patience, done", [(19, 0.1, False), (20, 0.1, True), (99, 0.0, False)])
def test_patience_is_a_share_of_all_steps(step, patience, done):
  assert out_of_patience(step, 10, settings(steps=100, patience=patience).train) is done


def test_processor_time_adds_up_over_starts(whole, tmp_path):
  stop = interrupted(11, lambda: os.kill(os.getpid(), signal.SIGTERM))
  run(tmp_path, settings(), data=stop)
  before = saved_state(tmp_path)[2]["processor_seconds"]
  summary = run(tmp_path, settings()).summary
  assert 0 < before < summary["processor_seconds"]
  assert 0 < whole[1].summary["processor_seconds"] < 600
