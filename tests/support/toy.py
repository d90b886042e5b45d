"""A method and data small enough that a run takes a second.

It is a linear map of each pixel's colours, with noise drawn for each image.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from pdr_jax import config as config_lib
from pdr_jax.methods import Method, TrainState
from pdr_jax.training import checkpoints, loop
from pdr_jax.training import step as steps
from pdr_jax.training.loop import Data
from support import runs

SIDE = 4


def config(**train) -> ConfigDict:
  config = config_lib.base()
  config.data.side = 32
  cadence = dict(log_every=5, validate_every=4, figure_every=0, checkpoint_every=4, gradient_norms_every=6)
  config.train.update(
    cadence | dict(batch_size=8, steps=12, keep_checkpoints=2, best_metric="val/error") | train
  )
  return config


@functools.cache
def method(nan_at: int | None = None, nan_gradient_at: int | None = None, width: int = 3) -> Method:
  """`nan_at`: the update with this zero-based number reports a NaN loss and a NaN state; `nan_gradient_at`:
  only the state is NaN.
  """
  tx = optax.adam(0.05)

  def objective(params, images, noise):
    predicted = jnp.einsum("bhwc,cd->bhwd", images, params["w"]) + params["b"][None, None, None]
    return jnp.mean(jnp.square(predicted - images[..., :1] - 0.1 * noise))

  def loss_and_gradient(params, batch, rng, axis_name):
    count = batch["image"].shape[0]
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * count
    keys = jax.vmap(lambda i: jax.random.fold_in(rng, i))(first + jnp.arange(count))
    noise = jax.vmap(lambda key: jax.random.normal(key, (SIDE, SIDE, width)))(keys)
    loss, grads = jax.value_and_grad(objective)(params, batch["image"], noise)
    return (loss, grads) if axis_name is None else jax.lax.pmean((loss, grads), axis_name)

  def init(rng, batch):
    params = {"w": jax.random.normal(rng, (batch["image"].shape[-1], width)), "b": jnp.zeros(width)}
    return TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state={"main": tx.init(params)})

  def update(state, batch, rng, axis_name):
    loss, grads = loss_and_gradient(state.params, batch, rng, axis_name)

    # The same program, whatever `at` is.
    def broken(at):
      return jnp.where(state.step == (-1 if at is None else at), jnp.nan, 0.0)

    loss = loss + broken(nan_at)
    grads = jax.tree.map(lambda g: g + broken(nan_at) + broken(nan_gradient_at), grads)
    updates, opt_state = tx.update(grads, state.opt_state["main"])
    size = jnp.float32(batch["image"].shape[0])
    size = size if axis_name is None else jax.lax.psum(size, axis_name)
    state = TrainState(
      step=state.step + 1, params=optax.apply_updates(state.params, updates), opt_state={"main": opt_state}
    )
    return state, {"loss": (loss * size, size), "photometric": (loss * size, size)}

  def gradient_norms(state, batch, rng, axis_name):
    _, grads = loss_and_gradient(state.params, batch, rng, axis_name)
    return {"gradient_norm/photometric": (optax.tree.norm(grads), jnp.ones(()))}

  def validate(state, batch, axis_name):
    predicted = (
      jnp.einsum("bhwc,cd->bhwd", batch["image"], state.params["w"]) + state.params["b"][None, None, None]
    )
    error = jnp.mean(jnp.square(predicted - batch["image"][..., :1]), axis=(1, 2, 3))
    valid = batch["_mask"].sum()
    # `distance` is lowest after seven steps: a best checkpoint that is not the last.
    metrics = {
      "val/error": ((error * batch["_mask"]).sum(), valid),
      "val/distance": (jnp.abs(state.step - 7.0) * valid, valid),
    }
    return metrics if axis_name is None else jax.lax.psum(metrics, axis_name)

  return Method(init=init, update=update, validate=validate, gradient_norms=gradient_norms, encode=None)


class Stream:
  """Endless batches that depend on their number only, with a position, as the pipeline's iterator.

  `drawn` lists the numbers.
  """

  def __init__(self, batch_size: int):
    self._size, self._next, self.drawn = batch_size, 0, []

  def __next__(self) -> dict:
    self.drawn.append(self._next)
    self._next += 1
    return {"image": images(self._size, seed=self._next), "name": np.array(["x"] * self._size)}

  def get_state(self) -> dict:
    return {"batch": self._next}

  def set_state(self, state: dict) -> None:
    self._next = int(state["batch"])

  def close(self) -> None:
    pass


def images(count: int, seed: int) -> np.ndarray:
  return np.random.default_rng([7, seed]).uniform(-1, 1, (count, SIDE, SIDE, 3)).astype(np.float32)


def data(batch_size: int = 8) -> Data:
  """Validation: 12 images, so the second batch of 8 is half padding."""
  every = images(16, seed=10**6)
  mask = (np.arange(16) < 12).astype(np.float32)
  batches = [
    {"image": every[i : i + batch_size], "_mask": mask[i : i + batch_size]} for i in range(0, 16, batch_size)
  ]
  return Data(Stream(batch_size), batches, "toy data")


# ---------------------------------------------------------------- whole runs


def run(workdir, settings: ConfigDict | None = None, **words) -> loop.Result:
  """Trains in `workdir`; `words` replace the toy's own method and data, or go to `loop.train`."""
  settings = settings or config()
  words = dict(method=method(), data=data(settings.train.batch_size)) | words
  return loop.train(settings, str(workdir), **words)


def records(workdir) -> list[dict]:
  """The lines of metrics.jsonl without speeds."""
  return runs.records(workdir)


def saved_state(workdir):
  """Everything in the newest checkpoint, arrays as NumPy: its step, the state, what it says of the run."""
  manager = checkpoints.Checkpoints(str(workdir), keep=2, best_metric="val/error")
  read = manager.restore_latest(steps.abstract_state(method(), 0, data().validation[0]))
  manager.close()
  return read.step, jax.device_get(read.state), read.run


class Interrupted(Stream):
  """Calls `act` while batch `at` (from zero) is drawn.

  That is before step `at`, which uses batch `at - 1`: one batch is read ahead.
  """

  def __init__(self, batch_size: int, at: int, act):
    super().__init__(batch_size)
    self._at, self._act = at, act

  def __next__(self):
    if self._next == self._at:
      self._act()
    return super().__next__()


def interrupted(at: int, act) -> Data:
  """The toy's data, whose training batches call `act` while batch `at` is drawn."""
  return data()._replace(train=Interrupted(8, at, act))
