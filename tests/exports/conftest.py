"""A run directory with random networks, made without training, and its export."""

import jax
import jax.numpy as jnp
import pytest
from toy_exports import STEP, random_params, small_config

from pdr_jax import export
from pdr_jax.files import write_json
from pdr_jax.methods import TrainState
from pdr_jax.training import run_dir
from pdr_jax.training.checkpoints import Checkpoints


@pytest.fixture(scope="session")
def run(tmp_path_factory):
  """The run directory: one checkpoint of step 7, whose scores are 0.5 for the model and 0.8 for constant depth."""
  workdir = str(tmp_path_factory.mktemp("run"))
  config = small_config()
  run_dir.record_start(workdir, config)
  checkpoints = Checkpoints(workdir, keep=1, best_metric=config.train.best_metric)
  state = TrainState(step=jnp.int32(STEP), params=jax.tree.map(jnp.asarray, random_params(config)), opt_state=())
  checkpoints.save(STEP, state, {}, {config.train.best_metric: 0.5})
  checkpoints.close()
  with open(f"{workdir}/{run_dir.METRICS}", "w") as file:
    file.write('{"step": 6, "val/side": 0.9}\n{"step": 7, "train/loss": 1.0}\n{"step": 7, "val/side": 0.5}\n')
  write_json(f"{workdir}/{run_dir.SUMMARY}", {"baselines": {"constant depth": {"val/side": 0.8}}})
  return workdir


@pytest.fixture(scope="session")
def exported(run, tmp_path_factory):
  """The export of `run`."""
  folder = str(tmp_path_factory.mktemp("exported") / "model")
  assert export.main(["export", f"--workdir={run}", f"--out={folder}"]) == 0
  return folder
