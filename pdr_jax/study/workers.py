"""Several workers of a study on this machine: processes that run the same command, each with one of its own.

Their output goes to `WORKDIR/workers/`. The parent shows how far the study is, hands on SIGTERM and Ctrl-C,
and a worker whose parent is gone stops as at a SIGTERM.
"""

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from pdr_jax.study import state
from pdr_jax.study.plan import Entry
from pdr_jax.training.preemption import AGAIN

PARENT = "PDR_JAX_STUDY_PARENT"  # the variable of a worker's environment that has its parent's process id
MEMORY = "XLA_PYTHON_CLIENT_MEM_FRACTION"  # of a GPU, that a process takes
FOLDER = "workers"
PAUSE = 2.0  # seconds between looks


def run(
    command: Sequence[str],
    count: int,
    workdir: str,
    entries: Sequence[Entry],
    environment: Mapping[str, str],
    say: Callable[[str], None],
) -> int:
  """Runs `command` in `count` processes until all have ended.

  They share an accelerator's memory where `environment` says nothing else.
  Returns the exit code: 0; 1 where a run failed or a worker died and runs are left; `AGAIN` where a signal
  stopped them.
  """
  folder = os.path.join(workdir, FOLDER)
  os.makedirs(folder, exist_ok=True)
  environment = {MEMORY: f"{0.9 / count:.3f}"} | dict(environment)
  environment |= {PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
  workers = []
  for number in range(count):
    log = os.path.join(folder, f"{platform.node()}_{os.getpid()}_{number}.log")
    with open(log, "wb") as file:
      words = dict(stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment)
      # A session of its own: the terminal sends Ctrl-C to all processes of one, and with the signal that is
      # handed on a worker would get two, which mean that it shall leave without a checkpoint.
      workers.append(subprocess.Popen([*command], start_new_session=True, **words))
    say(f"worker {number}: process {workers[-1].pid}, its lines are in {log}")

  def stop(received: int, _frame: object) -> None:
    for worker in workers:
      if worker.poll() is None:
        worker.send_signal(received)

  before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
  try:
    _watch(workers, entries, say)
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
  codes = [worker.wait() for worker in workers]
  states = [state.of(entry) for entry in entries]
  for line in state.lines(entries, states):
    say(line)
  for number, code in enumerate(codes):
    if code not in (0, 1, AGAIN):
      say(f"worker {number} ended with {code}: see its lines in {folder}")
  if AGAIN in codes:
    return AGAIN
  return int(any(entry_state.kind != state.DONE for entry_state in states))


def _watch(
    workers: Sequence[subprocess.Popen], entries: Sequence[Entry], say: Callable[[str], None]
) -> None:
  """Says what has changed, until all workers have ended."""
  told: list[str] = []
  while any(worker.poll() is None for worker in workers):
    states = [state.of(entry) for entry in entries]
    kinds = [entry_state.kind for entry_state in states]
    if kinds != told:
      told = kinds
      running = [entry.name for entry, kind in zip(entries, kinds, strict=True) if kind == state.RUNNING]
      say(state.summary(entries, states) + (f"; running: {', '.join(running)}" if running else ""))
    time.sleep(PAUSE)


def stop_with_parent() -> bool:
  """In a worker: sends this process a SIGTERM when its parent is gone. Returns whether it is a worker."""
  parent = int(os.environ.get(PARENT, "0"))
  if not parent:
    return False

  def watch() -> None:
    while os.getppid() == parent:
      time.sleep(PAUSE)
    os.kill(os.getpid(), signal.SIGTERM)

  threading.Thread(target=watch, name="parent", daemon=True).start()
  return True


def command_of(argv: Sequence[str]) -> list[str]:
  """The command of one worker: that of this process without `--workers`."""
  words, skip = [], False
  for word in argv[1:]:
    if skip:
      skip = False
    elif word == "--workers":
      skip = True
    elif not word.startswith("--workers="):
      words.append(word)
  return [sys.executable, "-m", "pdr_jax.study", *words]
