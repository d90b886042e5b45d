"""Gradient descent for the tasks that train a network.

They are segmentation, the supervised bound of depth, and fine-tuning.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import optax

from pdr_jax.errors import UserError
from pdr_jax.training import step as steps
from pdr_jax.training.step import AXIS

SAY_EVERY = 15  # seconds


def minimise(
    objective: Callable[[Any, dict], tuple[jax.Array, jax.Array]],
    params: Any,
    batches: Iterator[Mapping[str, np.ndarray]],
    tx: optax.GradientTransformation,
    count: int,
    say: Callable[[str], None] = lambda line: None,
    *,
    is_over: Callable[[Any, int], bool] | None = None,
    look_every: int = 0,
) -> Any:
  """The parameters after `count` steps, on all local devices with each batch spread over them; host arrays.

  Args:
    objective: `(params, batch) -> (sum, count)` of a device's share; the loss is the sum over the count of
      all devices.
    params: a tree of arrays; those that `tx` gives no update stay.
    batches: of the training split; closed at the end.
    say: gets a line with the loss every 15 seconds.
    is_over: asked with (params, step) after every `look_every` steps and after the last; True ends it.

  Raises `UserError` when the loss stops being finite.
  """

  def body(state, batch):
    params, moments = state
    total = jax.lax.psum(objective(params, batch)[1], AXIS)
    total = jax.numpy.where(total > 0, total, 1.0)  # nothing of this batch may count
    loss, grads = jax.value_and_grad(lambda params: objective(params, batch)[0] / total)(params)
    loss, grads = jax.lax.psum((loss, grads), AXIS)
    updates, moments = tx.update(grads, moments, params)
    return (optax.apply_updates(params, updates), moments), loss

  run = steps.descent_fn(body)
  state, said = steps.replicate((params, tx.init(params))), time.monotonic()
  try:
    for step in range(1, count + 1):
      state, loss = run(state, steps.place(next(batches)))
      if step == count or time.monotonic() - said > SAY_EVERY:
        if not float(loss) < float("inf"):
          raise UserError(
              f"the loss is no longer finite at step {step}: lower the learning rate of this task"
          )
        say(f"  step {step} of {count}, loss {float(loss):.4g}")
        said = time.monotonic()
      if is_over is not None and (step % look_every == 0 or step == count):
        if is_over(jax.device_get(state[0]), step):
          break
  finally:
    batches.close()
  return jax.device_get(state[0])


def trained(params: Mapping[str, Any], label: str = "trained") -> dict[str, str]:
  """Labels for `optax.partition` of a method's variables.

  Its state (batch statistics, codebooks) is always kept.
  """
  return {name: "kept" if name == "model_state" else label for name in params}


def partitioned(tx: optax.GradientTransformation, labels: Any) -> optax.GradientTransformation:
  """`tx` for what is labelled `trained`, no update for what is `kept`."""
  return optax.partition({"trained": tx, "kept": optax.set_to_zero()}, labels)


def run_once(function: Callable, *arguments: Any) -> Any:
  """`function(*arguments)` as one program.

  On the CPU it is hardly optimised, or XLA would spend most of a minute on drawing parameters.
  """
  return jax.jit(function, compiler_options=steps.quick_to_compile())(*arguments)
