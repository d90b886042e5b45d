"""Steps whose loss or gradient is not finite.

They are found, and their batch is kept for a look. They are left out where the configuration allows it.
"""

import os
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.files import write_atomically
from pdr_jax.methods import Method

FOLDER = "nonfinite"
SKIPPED = "skipped"  # metric: share of the steps that were left out


class NonFinite(Exception):
  """A metric or the state stopped being finite: which, at which step (one-based count of updates), and the
  file that holds its batch.
  """

  def __init__(self, step: int, term: str, value: float, batch_file: str = ""):
    super().__init__(f"{term} is {value} at step {step}")
    self.step, self.term, self.batch_file = step, term, batch_file


def skipping(method: Method) -> Method:
  """The method with an update that skips a step where a metric or the new state is not finite.

  It leaves the state as it was, but for its step. Its metrics have `skipped` besides, (1, 1) then and (0, 1)
  otherwise; the others are as they came. No device decides for itself: what `update` returns is the same on
  all of them.
  """

  def update(state, batch, rng, axis_name):
    new, metrics = method.update(state, batch, rng, axis_name)
    inexact = [leaf for leaf in jax.tree.leaves((new, metrics)) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    good = jnp.stack([jnp.isfinite(leaf).all() for leaf in inexact]).all()
    chosen = jax.tree.map(lambda after, before: jnp.where(good, after, before), new, state).replace(
      step=new.step
    )
    return chosen, dict(metrics) | {SKIPPED: (1.0 - good.astype(jnp.float32), jnp.ones(()))}

  return method._replace(update=update)


def guarded(method: Method, train: ConfigDict) -> Method:
  """The method as the section `train` of a configuration wants it: skipping such steps, or as it is."""
  return skipping(method) if train.skip_nonfinite else method


def culprit(metrics: Mapping[str, np.ndarray]) -> tuple[str, float] | None:
  """Name and value of the first (sum, count) that is not finite, the loss before others; `gradient` where
  only the new state was not.
  """
  for name in sorted(metrics, key=lambda name: (name != "loss", name)):
    if not np.isfinite(metrics[name]).all():
      return name, float(metrics[name][0])
  return ("gradient", float("nan")) if SKIPPED in metrics and metrics[SKIPPED][0] > 0 else None


def write_batch(workdir: str, step: int, batch: Mapping[str, jax.Array]) -> str:
  """Writes this process's share of a placed batch, `{name: [b, ...]}`, and returns the file.

  The file is read as `np.load(file)["image"]`. A disk that takes no file changes nothing about the error at
  hand: empty then.
  """
  path = os.path.join(workdir, FOLDER, f"step_{step:08d}_process_{jax.process_index()}.npz")
  arrays = {name: np.asarray(value).reshape(-1, *value.shape[2:]) for name, value in batch.items()}
  try:
    write_atomically(path, lambda file: np.savez(file, **arrays))
  except OSError:
    return ""
  return path


def stop_message(error: NonFinite, saved: int | None, workdir: str) -> UserError:
  """The one line that a run ends with when a number stopped being finite."""
  last = (
    f"the checkpoint of step {saved} in {workdir} is intact"
    if saved is not None
    else "there is no checkpoint yet"
  )
  batch = f"; its batch is in {error.batch_file}" if error.batch_file else ""
  advice = "Try a lower config.optim.learning_rate or a lower config.optim.clip_norm"
  return UserError(f"{error}{batch}: training stopped, {last}. {advice}")
