"""Seconds from the command until the first step of the quickstart is done: `python -m benchmarks.start`.

Starts it twice in fresh processes with a fresh compilation cache, so that the first start compiles and the
second does not, and ends each after its first step. Data that were prepared before are not drawn again.
Prints CPU seconds besides: on a machine with other work they say what two idle cores would need at most.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def start(config: str, folder: str, number: int) -> tuple[float, float, list[tuple[float, str]]]:
  """Runs until the line of step 1. Returns seconds, CPU seconds, and when which line was printed."""
  command = [
    sys.executable,
    "-m",
    "pdr_jax.main",
    "--config",
    config,
    "--workdir",
    os.path.join(folder, f"run{number}"),
    "--config.train.steps=1",
  ]
  environment = os.environ | {
    "JAX_COMPILATION_CACHE_DIR": os.path.join(folder, "cache"),
    "PYTHONUNBUFFERED": "1",
  }
  begun, lines = time.monotonic(), []
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
    for line in process.stdout:
      lines.append((time.monotonic() - begun, line.strip()))
      if line.startswith("step 1/1 "):
        break
    process.kill()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
  if not lines or not lines[-1][1].startswith("step 1/1 "):
    raise SystemExit("the run ended before its first step")
  return lines[-1][0], usage.ru_utime + usage.ru_stime, lines


def main() -> None:
  """Parses the command line, measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--config", default="configs/quickstart.py")
  args = parser.parse_args()
  print(f"{args.config}, {os.cpu_count()} cores", flush=True)
  with tempfile.TemporaryDirectory() as folder:
    for number, name in enumerate(("first", "second")):
      load = os.getloadavg()[0]
      seconds, cpu, lines = start(args.config, folder, number)
      print(f"{name} start: first step after {seconds:.1f} s, CPU {cpu:.1f} s, load before it {load:.1f}")
      for when, line in lines:
        print(f"  {when:6.1f} s  {line[:100]}", flush=True)


if __name__ == "__main__":
  main()
