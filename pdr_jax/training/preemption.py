"""SIGTERM and SIGINT: the run saves and leaves within a grace period, all processes at the same step; a
second signal ends it at once.
"""

import collections
import os
import signal
import socket
import sys
import threading
from typing import Any

import jax

from pdr_jax.training import distributed

# Exit code "run me again" (EX_TEMPFAIL of sysexits.h): stopped by a signal and saved.
AGAIN = 75
BEHIND = 2  # steps between a process's vote and its counting, so that nobody waits for the device


class StopRequest:
  """While it is open, the first SIGTERM or SIGINT sets `requested` to its number and gives the run
  `grace_seconds` to save and leave.

  After that time the process ends with `AGAIN` where it stands: the checkpoint before stays the newest. A
  second signal ends it at once with 128 + its number. Both work while the main thread is inside of XLA.
  Outside of the main thread `requested` stays 0.
  """

  def __init__(self, grace_seconds: float):
    self.requested = 0
    self._grace = grace_seconds
    self._before: dict[int, Any] = {}
    self._votes: collections.deque = collections.deque()

  def __enter__(self) -> "StopRequest":
    if threading.current_thread() is threading.main_thread():  # Python allows handlers only there
      self._read, self._write = socket.socketpair()
      self._write.setblocking(False)
      # The number of a signal arrives here at once, also while the main thread cannot run its handler.
      self._wakeup = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
      self._before = {
        number: signal.signal(number, self._request) for number in (signal.SIGTERM, signal.SIGINT)
      }
      self._watcher = threading.Thread(target=self._watch, daemon=True)
      self._watcher.start()
    return self

  def agreed(self) -> bool:
    """Is it time to save and leave?

    Every process calls it once after each step, and it is true in the same call for all of them.
    """
    if jax.process_count() == 1:
      return bool(self.requested)
    self._votes.append(distributed.vote(bool(self.requested)))
    return len(self._votes) > BEHIND and distributed.counted(self._votes.popleft())

  def reason(self) -> str:
    """`SIGTERM`, `SIGINT`, or that another process was asked to stop."""
    return signal.Signals(self.requested).name if self.requested else "a signal to another process"

  def _request(self, number: int, _frame: Any) -> None:
    self.requested = self.requested or number

  def _watch(self) -> None:
    asked = False
    while True:
      try:
        received = self._read.recv(1)
      except TimeoutError:
        end(
          f"the grace period of {self._grace:g} s is over: leaving without saving, the checkpoint before"
          " stays the newest",
          AGAIN,
        )
      if not received:  # closed
        return
      if received[0] not in (signal.SIGTERM, signal.SIGINT):
        continue
      if asked:
        end(f"{signal.Signals(received[0]).name} again: leaving at once", 128 + received[0])
      asked = True
      self._read.settimeout(self._grace)

  def __exit__(self, *_: Any) -> None:
    if self._before:
      for number, handler in self._before.items():
        signal.signal(number, handler)
      signal.set_wakeup_fd(self._wakeup)
      self._write.close()
      self._watcher.join()
      self._read.close()
      self._before = {}


def end(line: str, code: int) -> None:
  """Ends the process from any thread, now."""
  print(line, file=sys.stderr)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)
