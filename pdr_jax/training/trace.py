"""A trace of some steps, to see where their time goes."""

import os
from collections.abc import Callable

import jax

FOLDER = "profile"


class Trace:
  """A `jax.profiler` trace in `WORKDIR/profile`.

  TensorBoard's profile plugin reads `.xplane.pb`, ui.perfetto.dev reads `.trace.json.gz`.

  Args:
    workdir: the run directory.
    steps: the first and the last step in the trace, or empty. Steps that are dispatched together are in it
      together.
    say: where a line for the user goes.
  """

  def __init__(self, workdir: str, steps: tuple[int, ...], say: Callable[[str], None]):
    self._folder, self._steps, self._say = os.path.join(workdir, FOLDER), steps, say
    self._running = False

  def begins(self, together: range) -> bool:
    """Does the trace begin before these steps?"""
    return (
      bool(self._steps)
      and not self._running
      and together[0] <= self._steps[1]
      and self._steps[0] <= together[-1]
    )

  def ends(self, together: range) -> bool:
    """Does it end after them?"""
    return self._running and together[-1] >= self._steps[1]

  def start(self) -> None:
    """To be called when the steps before have been computed."""
    jax.profiler.start_trace(self._folder)
    self._running = True

  def close(self) -> None:
    """Writes the trace, where one was begun; to be called when its steps have been computed."""
    if self._running:
      self._running = False
      jax.profiler.stop_trace()
      self._say(f"a trace of the steps {self._steps[0]} to {self._steps[1]} is in {self._folder}")
