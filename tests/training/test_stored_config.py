"""The configuration that a run has stored: paths, data that has moved, a misspelt key."""

import contextlib
import json
import os

import pytest

from pdr_jax.cli import configurations
from pdr_jax.config import base
from pdr_jax.errors import UserError
from pdr_jax.training import loop, run_dir


def test_relative_paths_are_stored_absolute(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  overrides = [configurations.Override("data.path", "faces"), configurations.Override("seed", "3")]
  config = configurations.resolve(None, overrides, base)
  assert config.data.path == os.path.join(tmp_path, "faces")
  assert config.data.cache_dir == "" and config.seed == 3


def test_moved_data_is_read_from_its_new_place_and_nothing_else_may_change(tmp_path):
  config = base()
  config.data.path = "/old/faces"
  run_dir.record_start(str(tmp_path), config)
  config.data.path = "/new/faces"
  lines = []
  run_dir.check_run(str(tmp_path), config, say=lines.append)
  assert len(lines) == 1 and "data.path: /old/faces -> /new/faces" in lines[0]
  config.data.side = 32
  with pytest.raises(UserError, match="another configuration"):
    run_dir.check_run(str(tmp_path), config)


def test_a_misspelt_key_of_a_stored_configuration_is_no_default(tmp_path):
  run_dir.record_start(str(tmp_path), base())
  path = tmp_path / run_dir.CONFIG
  stored = json.loads(path.read_text())
  stored["data"]["sidee"] = stored["data"].pop("side")
  path.write_text(json.dumps(stored))
  message = r"config\.json: config\.data\.sidee is unknown; did you mean config\.data\.side\?"
  with pytest.raises(UserError, match=message):
    run_dir.read_config(str(tmp_path))


def test_what_the_data_filled_in_is_no_other_configuration(tmp_path):
  """Keys of `Description.from_data`: empty again at the next start, as at the first."""
  asked, filled = base("supervised"), base("supervised")
  filled.supervised.update(labels=("hat", "smiling"), classes=(2, 2))
  run_dir.record_start(str(tmp_path), filled)
  lines = []
  for config in (asked, filled):
    run_dir.check_run(str(tmp_path), config, say=lines.append)
  assert not lines
  asked.supervised.labels = ("hat",)
  with pytest.raises(UserError, match=r"supervised\.labels"):
    run_dir.check_run(str(tmp_path), asked)


def test_what_a_method_does_not_read_is_no_other_configuration(tmp_path):
  """PrGAN has its own rates: what a run of an earlier version stored of `optim` changed nothing."""
  stored = base("prgan")
  stored.optim.update(learning_rate=3e-4, ema=0.99)
  run_dir.record_start(str(tmp_path), stored)
  lines = []
  run_dir.check_run(str(tmp_path), base("prgan"), say=lines.append)
  assert not lines
  stored.prgan.judge_rate *= 2
  with pytest.raises(UserError, match=r"prgan\.judge_rate"):
    run_dir.check_run(str(tmp_path), stored)


@pytest.mark.parametrize("schedule, same", [("constant", True), ("cosine", False)])
def test_what_a_run_advises_at_its_end_is_accepted(tmp_path, schedule, same):
  config = base()
  config.optim.schedule = schedule
  run_dir.record_start(str(tmp_path), config)
  summary = {"best": {"metric": "val/l1", "checkpoint": 5}, "seconds": 1, "processor_seconds": 1}
  lines = []
  loop.report(summary | {"stopped": "", "checkpoints": [5]}, config, str(tmp_path), lines.append)
  assert any("the same command with a larger --config.train.steps" in line for line in lines) is same
  assert any("a larger --config.train.steps and another --workdir" in line for line in lines) is not same
  config.train.steps += 1
  with contextlib.nullcontext() if same else pytest.raises(UserError, match="another configuration"):
    run_dir.check_run(str(tmp_path), config, say=lines.append)
