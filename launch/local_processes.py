"""Runs training as several processes on this machine, as on a cluster: to try it out, and for tests.

  python launch/local_processes.py --processes=2 [--devices=1] -- --config configs/quickstart.py
      --workdir runs/two

`--devices` is the number of CPU devices of each process. Every line is printed with the number of its process
in front. SIGTERM and Ctrl-C go to all of them. The exit code is that of the process with the
lowest number that failed by itself, and not because another one was gone; 75 (saved, run again) when all were
stopped.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time

AGAIN, LOST = 75, 76  # pdr_jax.training.preemption.AGAIN, pdr_jax.training.distributed.LOST
PATIENCE = 60.0  # seconds that the others may take to notice that one is gone
# On a busy machine one device's thread may compile or wait longer than the 40 s after which XLA:CPU ends the
# process.
XLA_FLAGS = "--xla_cpu_collective_call_terminate_timeout_seconds=600"


def start(
  command: list[str], processes: int, devices: int, environ: dict[str, str] | None = None
) -> list[subprocess.Popen]:
  """Starts `command` once for each process, each in a session of its own.

  Ctrl-C therefore reaches each once, through us.
  """
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  children = []
  for i in range(processes):
    environment = dict(os.environ if environ is None else environ)
    environment["XLA_FLAGS"] = f"{XLA_FLAGS} {environment.get('XLA_FLAGS', '')}"  # the last of two counts
    environment |= dict(
      PDR_JAX_DISTRIBUTED=f"{address},{processes},{i}", JAX_NUM_CPU_DEVICES=str(devices), PYTHONUNBUFFERED="1"
    )
    children.append(
      subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
      )
    )
  return children


def wait(children: list[subprocess.Popen], show) -> list[int]:
  """Passes lines on as `show(process, line)`; returns the exit codes.

  What outlives a failed process by a minute is killed.
  """

  def read(i: int) -> None:
    for line in children[i].stdout:
      show(i, line)

  readers = [threading.Thread(target=read, args=(i,), daemon=True) for i in range(len(children))]
  for reader in readers:
    reader.start()
  failed = None
  while any(child.poll() is None for child in children):
    if failed is None and any(child.poll() for child in children):
      failed = time.monotonic()
    if failed is not None and time.monotonic() - failed > PATIENCE:
      for child in children:
        child.kill()
    time.sleep(0.1)
  for reader in readers:
    reader.join(timeout=5)
  return [child.returncode for child in children]


def together(codes: list[int]) -> int:
  """One exit code: a failure of its own before "another has stopped" before "run me again" before success.

  Of several failures that of the process with the lowest number: which one was first is not known.
  """
  after = (-signal.SIGABRT, LOST, AGAIN)  # the first is how JAX ends a process that has lost another one
  code = next((code for code in codes if code and code not in after), None) or next(
    (code for code in after if code in codes), 0
  )
  return 128 - code if code < 0 else code  # as a shell says it of a signal


def main(argv: list[str]) -> int:
  parser = argparse.ArgumentParser(usage=__doc__)
  parser.add_argument("--processes", type=int, default=2)
  parser.add_argument("--devices", type=int, default=1)
  split = argv.index("--") if "--" in argv else len(argv)
  a, flags = parser.parse_args(argv[:split]), argv[split + 1 :]
  if a.processes < 1 or a.devices < 1 or not flags:
    parser.error("--processes and --devices are at least 1, and the flags of the training program follow --")
  children = start([sys.executable, "-m", "pdr_jax.main", *flags], a.processes, a.devices)

  def forward(number: int, _frame) -> None:
    for child in children:
      if child.poll() is None:
        child.send_signal(number)

  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, forward)
  return together(wait(children, lambda i, line: print(f"[{i}] {line}", end="", flush=True)))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
