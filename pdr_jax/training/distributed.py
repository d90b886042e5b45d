"""Several processes, one run: how they find each other and what they tell each other.

How they end when one of them is gone is here too. Every process computes the same step on its part of the
batch (`training.step`); only process 0 reads and writes the run directory.
"""

import contextlib
import functools
import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import setproctitle
from flax import traverse_util
from jax.experimental import multihost_utils

from pdr_jax.errors import UserError

VARIABLE = "PDR_JAX_DISTRIBUTED"
LOST = 76        # exit code: another process of the run has ended
HEARTBEAT = 30   # seconds of silence after which JAX calls a process dead and ends the others
JOINING = 600    # seconds that processes may take to start
# Seconds that they wait for one that prepares data or reads a checkpoint; a dead one is noticed by its
# heartbeat.
PATIENCE = 6 * 3600
AXIS = "everywhere"
_MEETINGS = itertools.count()  # a barrier's name serves once; processes call `meet` in the same order


def start() -> None:
  """Joins the run that the environment describes; to be called before any other use of JAX.

  `PDR_JAX_DISTRIBUTED` is empty (one process), `auto` (Slurm's or the TPU's environment tells the rest), or
  `HOST:PORT,PROCESSES,PROCESS`: where process 0 listens, how many there are, which one this is. Raises
  `UserError` for anything else.
  """
  value = os.environ.get(VARIABLE, "")
  if not value:
    return
  # It would take SIGTERM from `training.preemption`.
  jax.config.update("jax_enable_preemption_service", False)
  patience = dict(heartbeat_timeout_seconds=HEARTBEAT, initialization_timeout=JOINING)
  try:
    if value == "auto":
      jax.distributed.initialize(**patience)
      return
    address, processes, process = value.split(",")
    host, port = address.rsplit(":", 1)
    numbers = int(processes), int(process), int(port)
    if not host or not 0 <= numbers[1] < numbers[0]:
      raise ValueError
  except ValueError as error:
    expected = "empty, auto (on Slurm or a TPU), or HOST:PORT,PROCESSES,PROCESS"
    raise UserError(
      f"{VARIABLE}={value}: must be {expected}" + (f" ({error})" if value == "auto" else "")
    ) from error
  jax.distributed.initialize(
    address, numbers[0], numbers[1], cluster_detection_method="deactivate", **patience
  )


@contextlib.contextmanager
def failing_at_once() -> Iterator[None]:
  """In it, an exception ends this process without waiting for the others; alone it does nothing.

  JAX waits for all processes when one of them exits; those would wait, in the middle of a step, for the one
  that failed.
  """
  try:
    yield
  except BaseException as error:
    if jax.process_count() == 1:
      raise
    me = f"process {jax.process_index()} of {jax.process_count()}"
    if isinstance(error, UserError):
      line, code = f"error: {me}: {' '.join(str(error).split())}", 2
    # That is memory of its own.
    elif isinstance(error, jax.errors.JaxRuntimeError) and not str(error).startswith("RESOURCE_EXHAUSTED"):
      reason = (str(error).strip().splitlines() or ["no reason given"])[0]
      line = f"error: {me} stops: it lost another process of this run, whose output says why ({reason[:200]})"
      code = LOST
    elif isinstance(error, KeyboardInterrupt):
      line, code = f"{me}: interrupted", 130
    else:
      sys.excepthook(type(error), error, error.__traceback__)
      line, code = f"error: {me} failed", 1
    print(line, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def meet() -> None:
  """Returns when all processes have called it.

  On the host: Gloo gives processes only 30 s to meet in a collective that is new to them.
  """
  if jax.process_count() > 1:
    ocp.multihost.get_barrier_sync_fn()(key=f"pdr_jax_{next(_MEETINGS)}", timeout_ms=1000 * PATIENCE)


def first_alone(prepare: Callable[[], Any]) -> Any:
  """`prepare()` of every process; the first one is alone with it, and prepares what all of them read."""
  if jax.process_index() > 0:
    meet()
  result = prepare()
  if jax.process_index() == 0:
    meet()
  return result


def connect() -> None:
  """Sets up what the collectives of steps need while all processes are together.

  In the first step one may compile longer than another.
  """
  if jax.process_count() > 1:
    meet()
    counted(vote(False))


def bytes_from_first(payload: bytes) -> bytes:
  """Process 0's `payload`, in all processes; they call it together.

  Bytes, because a broadcast of floats loses the sign of zero.
  """
  if jax.process_count() == 1:
    return payload
  meet()
  size = int(multihost_utils.broadcast_one_to_all(np.int32(len(payload))))
  mine = np.frombuffer(payload, np.uint8) if jax.process_index() == 0 else np.zeros(size, np.uint8)
  return np.asarray(multihost_utils.broadcast_one_to_all(mine)).tobytes()


def json_from_first(value: Any) -> Any:
  """Process 0's `value`, what JSON makes of it, in all processes; they call it together."""
  return json.loads(bytes_from_first(json.dumps(value).encode()))


def arrays_from_first(tree: dict | None) -> dict:
  """Process 0's nested dict of arrays, as NumPy arrays, in all processes.

  All processes call it together, the others with None.
  """
  if jax.process_count() == 1:
    return jax.tree.map(np.asarray, tree)
  buffer = io.BytesIO()
  if jax.process_index() == 0:
    np.savez(buffer, **traverse_util.flatten_dict(tree, sep="/"))
  with np.load(io.BytesIO(bytes_from_first(buffer.getvalue())), allow_pickle=False) as file:
    return traverse_util.unflatten_dict({name: file[name] for name in file.files}, sep="/")


def name_processes(run: str) -> None:
  """Makes process 0's `run` the title (`ps`, `top`) of all processes, with the number of each.

  All processes call it together.
  """
  run = bytes_from_first(run.encode()).decode()
  which = f" process {jax.process_index()} of {jax.process_count()}" if jax.process_count() > 1 else ""
  setproctitle.setproctitle(f"pdr_jax.main {run}{which}")


def sums(values: Mapping[str, np.ndarray | np.generic]) -> dict[str, np.ndarray | np.generic]:
  """Arrays of the same names and shapes in each process, added up over them, exactly as NumPy adds.

  All processes call it together.
  """
  if jax.process_count() == 1:
    return dict(values)
  meet()
  totals = {}
  for name in sorted(values):
    value = np.asarray(values[name])  # a scalar stays one
    # As bytes: JAX would make float32 of float64.
    parts = np.asarray(multihost_utils.process_allgather(np.frombuffer(value.tobytes(), np.uint8)))
    totals[name] = sum(np.frombuffer(part.tobytes(), value.dtype).reshape(value.shape) for part in parts)
  return {name: totals[name] for name in values}


def vote(yes: bool) -> jax.Array:
  """Begins to count how many devices' processes say yes, after the steps dispatched before.

  All processes call it together.
  """
  return _count()(np.full(jax.local_device_count(), yes, np.float32))


def counted(votes: jax.Array) -> bool:
  """Waits for a `vote`: did any process say yes? The same answer everywhere."""
  return bool(np.asarray(votes.addressable_data(0)).max() > 0)


@functools.cache
def _count():
  return jax.pmap(lambda number: jax.lax.psum(number, AXIS), axis_name=AXIS)
