"""Signals and stalls, with the main thread deep inside of C.

They concern the grace period, the second signal and the watchdog.
"""

import re
import signal
import sys
import threading
import time

import pytest
from support import runs

from pdr_jax.training import preemption, watchdog

HANGS = [*runs.TOY, "{workdir}", "--hang_at=7"]


def hanging(workdir, train: str):
  """A run that saves step 4 and hangs while it reads a batch ahead; its lines as they come."""
  child = runs.start([word.format(workdir=workdir) for word in HANGS] + [f"--train={train}"])
  lines: list[str] = []
  reader = threading.Thread(target=lambda: lines.extend(iter(child.stdout.readline, "")), daemon=True)
  reader.start()
  runs.until(lambda: runs.newest(workdir) == 4 or child.poll() is not None)
  return child, lines, reader


def ended(child, reader, seconds: float) -> float:
  """How long it took to end."""
  since = time.monotonic()
  child.wait(seconds)
  reader.join(10)
  return time.monotonic() - since


@pytest.mark.slow
def test_a_stall_is_told_and_the_grace_period_ends_a_run_that_cannot_save(tmp_path):
  child, lines, reader = hanging(tmp_path, '{"stall_minutes": 0.02, "grace_seconds": 2}')

  def told():
    return "".join(lines).partition("no progress for 0.02 min while reading the batch of step 7;")[2]

  # The stack of the thread that hangs.
  runs.until(lambda: re.search(r'File ".*toy_run.py", line \d+ in __next__', told()), child)
  assert "no progress for 0.02 min while reading" not in told()  # once
  child.send_signal(signal.SIGTERM)
  assert 1.8 < ended(child, reader, 60) < 40
  assert child.returncode == preemption.AGAIN and "the grace period of 2 s is over" in lines[-1], lines
  assert runs.newest(tmp_path) == 4 and runs.arrays(tmp_path, 4)  # what was saved before stays readable


def test_a_second_signal_ends_the_run_at_once(tmp_path):
  child, lines, reader = hanging(tmp_path, '{"grace_seconds": 600}')
  time.sleep(1)
  child.send_signal(signal.SIGINT)
  time.sleep(1)
  assert child.poll() is None
  child.send_signal(signal.SIGINT)
  assert ended(child, reader, 60) < 20
  assert child.returncode == 128 + signal.SIGINT and lines[-1] == "SIGINT again: leaving at once\n", lines


def test_signal_handlers_and_the_wakeup_pipe_are_given_back():
  before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)], threading.active_count()
  for _ in range(3):
    with preemption.StopRequest(60) as stop:
      assert not stop.agreed()
      signal.raise_signal(signal.SIGTERM)
      assert stop.agreed() and stop.reason() == "SIGTERM"
  assert (
    [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)],
    threading.active_count(),
  ) == before
  assert signal.set_wakeup_fd(-1) == -1


def test_the_watchdog_is_silent_while_there_is_progress_and_speaks_once(capfd):
  lines = []
  dog = watchdog.Watchdog(0.005, lines.append)  # 0.3 s
  for _ in range(12):
    dog.at("walking")
    time.sleep(0.05)
  assert lines == []
  dog.at("sleeping")
  time.sleep(1.5)
  dog.close()
  assert (
    len(lines) == 1
    and "while sleeping" in lines[0]
    and sys._getframe().f_code.co_name in capfd.readouterr().err
  )
  silent = watchdog.Watchdog(0, lambda line: pytest.fail(line))
  silent.close()
