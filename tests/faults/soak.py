"""An hour of small training with random kills: memory, file handles, and the lines of metrics.jsonl.

  python tests/faults/soak.py --minutes=60 [--seed=0] [--folder=DIR]

The toy run of this folder goes on for that time; at random moments it is killed (SIGKILL) or stopped (SIGTERM), and started again. While it
runs, its resident memory and open files are sampled. Fails (exit code 1) when in the longest life memory grew by 2 % or more between
its second and its last quarter, when the number of open files rose, or when metrics.jsonl lacks a step or has one twice. Needs /proc.
"""

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import runs

TRAIN = {"steps": 10**7, "log_every": 10, "validate_every": 500, "checkpoint_every": 100, "gradient_norms_every": 0}
SAMPLE = 1.0  # seconds


def sample(pid: int) -> tuple[int, int]:
  """(resident bytes, open files) of a process."""
  with open(f"/proc/{pid}/statm") as file:
    return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd"))


def live(workdir: str, seconds: float, number: int, log) -> list[tuple[int, int]]:
  """One life of the run, ended by a signal; its samples from the first logged step on."""
  child = runs.start([*runs.TOY, workdir, f"--train={json.dumps(TRAIN)}"], log)
  samples, before, end = [], len(runs.records(workdir)), None
  while end is None or time.monotonic() < end:
    if child.poll() is not None:
      raise SystemExit(f"the run ended by itself with code {child.returncode}: see {log.name}")
    if end is None and len(runs.records(workdir)) > before:
      end = time.monotonic() + seconds
    if end is not None:
      samples.append(sample(child.pid))
    time.sleep(SAMPLE)
  child.send_signal(number)
  if child.wait() not in (-signal.SIGKILL, 75):
    raise SystemExit(f"the run ended with code {child.returncode}: see {log.name}")
  return samples


def judge(samples: list[tuple[int, int]], steps: list[int]) -> list[str]:
  """What is wrong with the longest life, and with the logged steps; prints the figures."""
  quarter = len(samples) // 4
  memory, files = zip(*samples, strict=True)
  early, late = statistics.median(memory[quarter : 2 * quarter]), statistics.median(memory[-quarter:])
  opened = statistics.median(files[quarter : 2 * quarter]), statistics.median(files[-quarter:])
  grown = f"memory {early / 2**20:.1f} -> {late / 2**20:.1f} MiB ({late / early - 1:+.2%}), open files {opened[0]:g} -> {opened[1]:g}"
  print(f"longest life {len(samples) * SAMPLE / 60:.1f} min: {grown}")
  wanted = list(range(TRAIN["log_every"], steps[-1] + 1, TRAIN["log_every"]))
  print(f"{len(steps)} lines of training steps up to step {steps[-1]}")
  wrong = ["memory grew"] if late / early >= 1.02 else []
  wrong += ["file handles grew"] if opened[1] > opened[0] else []
  return wrong + ([] if steps == wanted else ["metrics.jsonl lacks steps or has some twice"])


def main(argv: list[str]) -> int:
  parser = argparse.ArgumentParser(usage=__doc__)
  parser.add_argument("--minutes", type=float, default=60)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--folder")
  a = parser.parse_args(argv)
  folder = a.folder or tempfile.mkdtemp(prefix="soak_")
  workdir = os.path.join(folder, "run")
  chance, lives, end = random.Random(a.seed), [], time.monotonic() + 60 * a.minutes
  os.makedirs(folder, exist_ok=True)
  with open(os.path.join(folder, "log"), "a") as log:
    while time.monotonic() < end or not lives:
      # Every third life is a long one, for the memory; the others end soon, for the kills.
      seconds = 60 * a.minutes / 6 if len(lives) % 3 == 0 else chance.uniform(1, 60 * a.minutes / 12)
      lives.append(live(workdir, seconds, chance.choice((signal.SIGKILL, signal.SIGTERM)), log))
      print(f"life {len(lives)}: {len(lives[-1]) * SAMPLE:.0f} s, newest checkpoint {runs.newest(workdir)}", flush=True)
    live(workdir, 1, signal.SIGTERM, log)  # what a kill took from metrics.jsonl is written again
  steps = [line["step"] for line in runs.records(workdir) if "train/loss" in line]
  wrong = judge(max(lives, key=len), steps)
  print("WRONG: " + ", ".join(wrong) if wrong else "nothing wrong", flush=True)
  return 1 if wrong else 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
