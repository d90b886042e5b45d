"""Says where the time goes when no step finishes for too long."""

import faulthandler
import sys
import threading
import time
from collections.abc import Callable


class Watchdog:
  """A thread that speaks up when `minutes` pass between two calls of `at` (0: never), once for each silence.

  Args:
    minutes: how long one phase may last.
    say: where the line goes; the stacks of all threads follow on stderr.
  """

  def __init__(self, minutes: float, say: Callable[[str], None]):
    self._seconds, self._say = 60 * minutes, say
    self._phase, self._since, self._told = "starting", time.monotonic(), False
    self._closed = threading.Event()
    if minutes:
      threading.Thread(target=self._watch, daemon=True).start()

  def at(self, phase: str) -> None:
    """The run enters a phase, such as `reading the next batch`."""
    self._phase, self._since, self._told = phase, time.monotonic(), False

  def close(self) -> None:
    self._closed.set()

  def _watch(self) -> None:
    while not self._closed.wait(min(self._seconds / 4, 10.0)):
      if not self._told and time.monotonic() - self._since > self._seconds:
        self._told = True
        silence = f"no progress for {self._seconds / 60:g} min while {self._phase}"
        self._say(f"{silence}; the stacks of all threads are on stderr")
        faulthandler.dump_traceback(file=sys.stderr)
