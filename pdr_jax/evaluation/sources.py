"""What is evaluated: the encoders of a run, or untrained ones, principal components or the pixels in their place."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from pdr_jax import methods
from pdr_jax.data import pipeline
from pdr_jax.errors import UserError
from pdr_jax.evaluation import extract
from pdr_jax.methods import Method, inference_variables
from pdr_jax.training.checkpoints import check_variables, load_variables

NAMES = ("trained", "random", "pca", "pixels")


class Source(NamedTuple):
  """Where features come from. `params` (host arrays by network), `system` and `step` are None where there are no networks."""
  name: str
  encode: Callable
  system: Method | None = None
  params: dict | None = None
  step: int | None = None

  @property
  def trained(self) -> bool:
    """True where images have taught the networks something."""
    return self.params is not None and self.name != "random"


def of_run(run: ConfigDict, workdir: str, name: str, checkpoint: str) -> Source:
  """The source `name` for the run in `workdir`, whose resolved configuration `run` may name other data.

  `checkpoint` is best, latest or a step. Raises `UserError`: no such checkpoint, or one that is not of the configuration's method.
  """
  if name == "pixels":
    return Source(name, extract.pixels)
  system, side = methods.create(run), run.data.side
  example = {"image": np.zeros((1, side, side, 3), np.float32)}
  expected = inference_variables(jax.eval_shape(system.init, jax.random.key(run.seed), example))
  if name == "pca":
    blocks = jax.eval_shape(system.encode, expected, jax.ShapeDtypeStruct((1, side, side, 3), np.float32))
    batches = pipeline.validation_batches(run, split="train", image_only=True)
    return Source(name, extract.principal_components(batches, sum(block.shape[1] for block in blocks.values())))
  if name == "random":
    state = jax.jit(system.init)(jax.random.key(run.seed), example)
    params, step = jax.device_get(inference_variables(state)), 0
  else:
    if checkpoint not in ("best", "latest") and not checkpoint.isdecimal():
      raise UserError(f"config.checkpoint = {checkpoint}: must be best, latest, or a step such as 1000")
    params, step = load_variables(workdir, checkpoint)
    check_variables(params, expected)
  return Source(name, partial(system.encode, params), system, params, step)


def of_export(run: ConfigDict, folder: str) -> Source:
  """The model that `pdr_jax.export` wrote to `folder`. Raises `UserError` where it is damaged, or not of its own configuration."""
  from pdr_jax.exports import reader

  system, side = methods.create(run), run.data.side
  params = reader.load_variables(folder)
  example = {"image": np.zeros((1, side, side, 3), np.float32)}
  check_variables(params, inference_variables(jax.eval_shape(system.init, jax.random.key(run.seed), example)))
  return Source("export", partial(system.encode, params), system, params, reader.read_manifest(folder).get("step"))
