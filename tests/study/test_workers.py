"""Studies of toys in processes of their own: several workers, a kill in the middle, a run that fails."""

import glob
import json
import os
import re
import signal

import numpy as np
import pytest
from support import runs

from pdr_jax.study import state

pytestmark = pytest.mark.users_programs
CONFIG = """
from ml_collections import ConfigDict
from pdr_jax.config import base
from pdr_jax.evaluation.config import get_config as evaluation

def get_config():
  run, probes = base("support.toy_clips"), evaluation()
  run.data.update(name="support.toy_source", train_examples=64, val_examples=24)
  run.train.update(batch_size=8, steps=4, validate_every=2, checkpoint_every=2, figure_every=0)
  run.train.gradient_norms_every = 0
  probes.update(tasks=("linear",), batch_size=8, seeds=2)
  broken = {"train": {"best_metric": "val/nothing"}}
  return ConfigDict(dict(
      question="Which toy?", methods=("support.toy_clips", "support.toy_clips:broken", "pixels"), seeds=2,
      pictures=32, run=run, evaluation=probes, changes={"broken": broken}))
"""
CLIPS = "support.toy_clips"


@pytest.fixture
def command(tmp_path):
  """The command of a study of toys in `tmp_path/study`."""
  (tmp_path / "toys.py").write_text(CONFIG)
  words = [*runs.MODULE, "pdr_jax.study", "--config", str(tmp_path / "toys.py")]
  return [*words, "--workdir", str(tmp_path / "study")]


def lines_of(child) -> str:
  return child.communicate(timeout=600)[0]


def test_two_workers_share_the_runs_a_failure_is_named_and_tried_again_alone(command, tmp_path):
  study = tmp_path / "study"
  parent = runs.start([*command, "--workers", "2"])
  output = lines_of(parent)
  assert parent.returncode == 1, output  # a run has failed
  assert "5 runs: 3 done, 0 running, 2 failed, 0 waiting" in output
  logs = [open(path).read() for path in glob.glob(str(study / "workers" / "*.log"))]
  began = re.findall(r"^\[\d of 5\] (\S+)$", "\n".join(logs), re.M)
  assert len(logs) == 2 and len(began) == len(set(began)) == 5  # no run twice
  for seed in range(2):
    with open(study / CLIPS / f"seed_{seed}" / "versions.json") as file:
      assert len(json.load(file)["starts"]) == 1
    assert "best_metric = 'val/nothing'" in (study / f"{CLIPS}_broken/seed_{seed}" / state.TRACE).read_text()
  table = (study / "study.md").read_text()
  assert "kind, linear, accuracy" in table and "## What failed" in table and "| 32 |" in table

  status = runs.start([*command[:3], *command[-2:], "--status"])  # without --config
  told = lines_of(status)
  assert status.returncode == 0 and re.search(rf"failed +{CLIPS}_broken/seed_1 .*--only", told), told
  again = runs.start([*command, "--only", f"{CLIPS}_broken/seed_1"])
  told = lines_of(again)
  assert again.returncode == 1 and told.count("\n[") + told.startswith("[") == 1, told  # that one alone


def test_a_killed_worker_is_taken_over_and_continues_bit_for_bit(command, tmp_path):
  words = [f"--config.methods=('{CLIPS}',)", "--config.seeds=1", "--config.pictures=4000"]
  more = ["--config.run.train.validate_every=50", "--config.run.train.checkpoint_every=50"]
  folder = tmp_path / "study" / CLIPS / "seed_0"
  first = runs.start([*command, *words, *more])
  runs.until(lambda: runs.newest(folder) >= 50, first)
  second = runs.start([*command, *words, *more])  # waits for the run that the first has in work
  first.send_signal(signal.SIGKILL)
  first.wait()
  output = lines_of(second)
  assert second.returncode == 0, output
  assert "continuing from the checkpoint of step" in output and "1 done" in output
  whole = runs.start([*command[:-1], str(tmp_path / "whole"), *words, *more])
  assert whole.wait(600) == 0
  expected = runs.arrays(tmp_path / "whole" / CLIPS / "seed_0", 500)
  continued = runs.arrays(folder, 500)
  assert expected.keys() == continued.keys() and expected
  for name, array in expected.items():
    np.testing.assert_array_equal(continued[name], array, err_msg=name)
  assert not os.path.exists(folder / state.LOCK)
