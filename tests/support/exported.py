"""Small random networks of PDR, their configuration, and a run directory and an export of them."""

import os

import jax
import numpy as np
from ml_collections import ConfigDict

from pdr_jax import elements, methods
from pdr_jax.config import base, variant
from pdr_jax.files import write_json
from pdr_jax.methods import TrainState
from pdr_jax.training import run_dir
from pdr_jax.training.checkpoints import Checkpoints
from support.programs import compiled

SIDE, STEP = 32, 7
WIDTHS = dict(width_map=4, width_vector=4, zdim=6, zdim_confidence=4)


def small_config(**networks) -> ConfigDict:
  """PDR at the smallest side and widths."""
  config = variant(base(), "small")
  config.networks.update(WIDTHS | networks)
  return config


def random_variables(config: ConfigDict) -> dict:
  """Inference variables large enough that every factor differs between pictures."""
  example = elements.zeros(methods.describe(config.method).reads(config), 1)
  method = methods.create(config)

  def init(key):
    return methods.inference_variables(method.init(key, example))

  variables = compiled(init)(jax.random.key(3))
  return jax.tree.map(lambda leaf: np.asarray(leaf) * np.float32(1.7 if leaf.ndim > 1 else 1), variables)


def write_run(workdir: str, config: ConfigDict, variables: dict) -> None:
  """A run directory with one checkpoint of step 7.

  Its scores are 0.5 for the model and 0.8 for constant depth.
  """
  run_dir.record_start(workdir, config)
  checkpoints = Checkpoints(workdir, keep=1, best_metric=config.train.best_metric)
  state = TrainState(step=jax.numpy.int32(STEP), params=jax.tree.map(jax.numpy.asarray, variables))
  checkpoints.save(STEP, state, {}, {config.train.best_metric: 0.5})
  checkpoints.close()
  with open(os.path.join(workdir, run_dir.METRICS), "w") as file:
    file.write('{"step": 6, "val/side": 0.9}\n{"step": 7, "train/loss": 1.0}\n{"step": 7, "val/side": 0.5}\n')
  write_json(os.path.join(workdir, run_dir.SUMMARY), {"baselines": {"constant depth": {"val/side": 0.8}}})


def write_text(folder: str, name: str, text: str) -> None:
  """Writes over a file of an export."""
  with open(os.path.join(folder, name), "w") as file:
    file.write(text)
