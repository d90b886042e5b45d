"""The best validation of a run whose best metric is another one than before, or counts nothing at times."""

import jax.numpy as jnp
import pytest
from support import toy
from support.toy import run, saved_state

from pdr_jax.training import checkpoints, run_dir

# `val/distance` of step n is |n - 7|, and `val/error` is below one all the time.
DISTANCE = dict(best_metric="val/distance", validate_every=1, checkpoint_every=5)


def test_another_best_metric_is_compared_with_its_own_values(tmp_path):
  run(tmp_path / "a", toy.config(steps=4))
  summary = run(tmp_path / "a", toy.config(best_metric="val/distance"), override_config=True).summary
  assert summary["best"] == {"step": 8, "value": 1.0, "metric": "val/distance", "checkpoint": 8}
  assert checkpoints.load_variables(str(tmp_path / "a"))[1] == 8
  # With all the values from before: six at the first step is the highest, whose checkpoint is gone.
  highest = toy.config(**DISTANCE, best_mode="highest", steps=13)
  run(tmp_path / "b", toy.config(**DISTANCE, steps=8))
  summary = run(tmp_path / "b", highest, override_config=True).summary
  assert (summary["best"]["step"], summary["best"]["value"]) == (1, 6.0)
  # Without its log the run begins to compare anew.
  run(tmp_path / "c", toy.config(**DISTANCE, steps=8))
  (tmp_path / "c" / run_dir.METRICS).unlink()
  summary = run(tmp_path / "c", highest, override_config=True).summary
  assert summary["best"] == {"step": 13, "value": 6.0, "metric": "val/distance", "checkpoint": 13}


def test_a_best_metric_that_checkpoints_lack_is_that_of_the_later_ones(tmp_path):
  plain = toy.method()

  def validate(state, batch, axis_name):
    metrics = plain.validate(state, batch, axis_name)
    return metrics | {"val/new": metrics["val/distance"]}

  run(tmp_path, toy.config(steps=4))
  config = toy.config(best_metric="val/new")
  summary = run(tmp_path, config, method=plain._replace(validate=validate), override_config=True).summary
  assert summary["best"] == {"step": 8, "value": 1.0, "metric": "val/new", "checkpoint": 8}
  assert checkpoints.load_variables(str(tmp_path))[1] == 8


def test_a_checkpoint_that_does_not_say_what_is_best_is_of_the_same_metric(tmp_path):
  run(tmp_path, toy.config(**DISTANCE, steps=5))
  step, _, about = saved_state(tmp_path)
  assert about.pop("best_of") == ["val/distance", "lowest"]
  manager = checkpoints.Checkpoints(str(tmp_path), keep=2, best_metric="val/distance")
  manager.complete(step, about | {"best": {"step": 3, "value": -1.0}})
  manager.close()
  best = run(tmp_path, toy.config(**DISTANCE)).summary["best"]
  assert (best["step"], best["value"]) == (3, -1.0)


def counting_from(first):
  """The toy method with `val/side`, minus the step, which counts nothing before step `first`."""
  plain = toy.method()

  def validate(state, batch, axis_name):
    metrics = plain.validate(state, batch, axis_name)
    counted = jnp.where(state.step < first, 0.0, metrics["val/error"][1])
    return metrics | {"val/side": (-state.step * counted, counted)}

  return plain._replace(validate=validate)


@pytest.mark.parametrize("mode, best", [("lowest", 12), ("highest", 8)])
def test_a_validation_that_counted_nothing_is_left_out(tmp_path, capsys, mode, best):
  config = toy.config(best_metric="val/side", best_mode=mode, checkpoint_every=5)
  summary = run(tmp_path, config, method=counting_from(8)).summary
  assert summary["best"] == {"step": best, "value": -best, "metric": "val/side", "checkpoint": best}
  lines = [line for line in capsys.readouterr().out.splitlines() if "counted nothing" in line]
  assert len(lines) == 1 and "validation of step 4 counted nothing for val/side" in lines[0]


def test_a_run_whose_best_metric_never_counts_takes_all_its_steps(tmp_path, capsys):
  config = toy.config(best_metric="val/side", patience=0.3)
  summary = run(tmp_path, config, method=counting_from(100)).summary
  assert summary["best"] == {"metric": "val/side", "checkpoint": None}
  assert summary["stopped"] == "all 12 steps" and checkpoints.load_variables(str(tmp_path))[1] == 12
  out = capsys.readouterr().out
  assert "lowest val/side: none" in out and "step None" not in out
