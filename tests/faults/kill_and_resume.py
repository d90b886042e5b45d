"""Kills a run with SIGKILL at random moments until it is done.

It is compared bit for bit with a run that was left alone.

  PYTHONPATH=tests python tests/faults/kill_and_resume.py --points=20 [--seed=0] [--folder=DIR]
      [-- --config configs/quickstart.py ...]

Without flags of the training program the toy run of this folder, which has two optimisers, is killed.
Compared: every array of the newest checkpoint (parameters, optimisers, moving average, step), the position in
the data, the open averages, and every line of metrics.jsonl but for speeds. Exit code 0 when all are equal;
the kill points are printed.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
from support import runs

TOY_TRAIN = {
  "steps": 400,
  "log_every": 1,
  "validate_every": 25,
  "checkpoint_every": 8,
  "gradient_norms_every": 7,
}


def run_once(command: list[str], log, kill_at: tuple[int, float] | None, workdir: str) -> tuple[bool, int]:
  """Starts the run; kills it `kill_at[1]` seconds after it has logged `kill_at[0]` steps.

  -> (was it killed, logged steps).
  """
  child = runs.start(command, log)
  try:
    while child.poll() is None:
      if kill_at and logged(workdir) >= kill_at[0]:
        time.sleep(kill_at[1])
        child.kill()
        kill_at = None
      time.sleep(0.01)
  finally:
    if child.poll() is None:
      child.kill()
  if child.returncode not in (0, -9):
    raise SystemExit(f"the run ended with code {child.returncode}: see {log.name}")
  return child.returncode == -9, logged(workdir)


def logged(workdir: str) -> int:
  return max((line["step"] for line in runs.records(workdir)), default=0)


def differences(a: str, b: str) -> list[str]:
  """What is not equal in two finished runs."""
  step = runs.newest(a)
  if runs.newest(b) != step:
    return [f"newest checkpoints: {step} and {runs.newest(b)}"]
  x, y = runs.arrays(a, step), runs.arrays(b, step)
  actual = [] if x.keys() == y.keys() else ["names of arrays"]
  actual += [name for name in x.keys() & y.keys() if x[name].tobytes() != y[name].tobytes()]
  records = [
    json.load(open(os.path.join(workdir, "checkpoints", str(step), "run", "metadata"))) for workdir in (a, b)
  ]
  compared = records[0].keys() - {"seconds", "processor_seconds"}
  actual += [key for key in sorted(compared) if records[0][key] != records[1].get(key)]
  return actual + ([] if runs.records(a) == runs.records(b) else ["metrics.jsonl"])


def main(argv: list[str]) -> int:
  parser = argparse.ArgumentParser(usage=__doc__)
  parser.add_argument("--points", type=int, default=20)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--folder")
  split = argv.index("--") if "--" in argv else len(argv)
  a, flags = parser.parse_args(argv[:split]), argv[split + 1 :]
  folder = a.folder or tempfile.mkdtemp(prefix="kill_and_resume_")
  os.makedirs(folder, exist_ok=True)
  whole, killed = os.path.join(folder, "whole"), os.path.join(folder, "killed")
  if flags:
    def command(workdir):
      return [sys.executable, "-m", "pdr_jax.main", *flags, "--workdir", workdir]

  else:
    def command(workdir):
      return [*runs.TOY, workdir, f"--train={json.dumps(TOY_TRAIN)}", "--delay=0.02"]

  chance, points = random.Random(a.seed), []
  with open(os.path.join(folder, "log"), "a") as log:
    run_once(command(whole), log, None, whole)
    last = logged(whole)
    while len(points) < a.points:
      done = logged(killed)
      ahead = max(1, (last - done) // (a.points - len(points)))
      moment = min(last - 1, done + chance.randint(0, 2 * ahead)), chance.uniform(0, 0.5)
      was_killed, got_to = run_once(command(killed), log, moment, killed)
      if not was_killed:
        break
      points.append(got_to)
      print(f"killed after step {got_to} was logged; newest checkpoint {runs.newest(killed)}", flush=True)
    run_once(command(killed), log, None, killed)
  wrong = differences(whole, killed)
  arrays = runs.arrays(whole, runs.newest(whole))
  print(
    f"{len(points)} kill points in {last} steps; {len(arrays)} arrays,"
    f" {sum(np.size(value) for value in arrays.values()):,} numbers"
  )
  print(
    "NOT EQUAL: " + ", ".join(wrong)
    if wrong
    else "equal bit for bit: arrays, data position, averages, metrics.jsonl",
    flush=True,
  )
  return 1 if wrong else 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
