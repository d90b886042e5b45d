"""An hour of small training with random kills: memory, file handles, and the lines of metrics.jsonl.

  PYTHONPATH=tests python tests/faults/soak.py --minutes=60 [--seed=0] [--folder=DIR]
      [-- --config configs/quickstart.py --config.train.steps=10000000 ...]

Without flags of the training program the toy run of this folder goes on for that time. In the first half it
is killed (SIGKILL) or stopped (SIGTERM) at random moments, also while it starts, and started again each time.
In the second half it is left alone while its resident memory and its open files are sampled once a second;
the first fifth of that is warm-up, the rest is told fifth by fifth. Fails (exit code 1) when from the first
to the last of these memory grew by 2 per cent or more or the fewest open files rose, or when metrics.jsonl
lacks a line or has one twice. Needs /proc.
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


from support import runs

from pdr_jax.training import run_dir

TRAIN = {
  "steps": 10**7,
  "log_every": 10,
  "validate_every": 500,
  "checkpoint_every": 100,
  "gradient_norms_every": 0,
}
# Seconds after which at the latest a life is killed, counted from its start or from its first line.
LIFE = 60.0
SEGMENTS = 5


def sample(pid: int) -> tuple[int, int]:
  """(resident bytes, open files) of a process."""
  with open(f"/proc/{pid}/statm") as file:
    return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd"))


def alive(child, log) -> None:
  if child.poll() is not None:
    raise SystemExit(f"the run ended by itself with code {child.returncode}: see {log.name}")


def end(child, number: int, log) -> None:
  child.send_signal(number)
  if child.wait() not in (75, -signal.SIGKILL, -signal.SIGTERM):  # the last one before training began
    raise SystemExit(f"the run ended with code {child.returncode}: see {log.name}")


def killed(command: list[str], workdir: str, seconds: float, number: int, log, *, starting: bool) -> None:
  """One life that a signal ends so many seconds after its start, wherever it is then.

  Unless `starting`, the seconds count from its first line.
  """
  child, before = runs.start(command, log), len(runs.records(workdir))
  while not starting and len(runs.records(workdir)) <= before:
    alive(child, log)
    time.sleep(1)
  until = time.monotonic() + seconds
  while time.monotonic() < until:
    alive(child, log)
    time.sleep(0.1)
  end(child, number, log)


def watched(command: list[str], workdir: str, seconds: float, log) -> list[tuple[int, int]]:
  """One life left alone for so long after its first line, then stopped; a sample for each second."""
  child, before, samples = runs.start(command, log), len(runs.records(workdir)), []
  while len(runs.records(workdir)) <= before:
    alive(child, log)
    time.sleep(1)
  until = time.monotonic() + seconds
  while time.monotonic() < until:
    alive(child, log)
    samples.append(sample(child.pid))
    time.sleep(1)
  end(child, signal.SIGTERM, log)
  return samples


def judge_samples(samples: list[tuple[int, int]]) -> list[str]:
  """What is wrong with memory and open files; prints them segment by segment."""
  size = len(samples) // SEGMENTS
  memory, files = [], []
  for i in range(SEGMENTS):
    resident, opened = zip(*samples[i * size : (i + 1) * size], strict=True)
    memory.append(statistics.median(resident))
    files.append(min(opened))
    note = "  (warm-up)" if i == 0 else f"  ({memory[i] / memory[1] - 1:+.2%})"
    print(
      f"  second {i * size} to {(i + 1) * size}: {memory[i] / 2**20:.1f} MiB, {files[i]} to {max(opened)}"
      f" open files{note}"
    )
  return ["memory grew"] * (memory[-1] >= 1.02 * memory[1]) + ["open files rose"] * (files[-1] > files[1])


def judge_lines(workdir: str) -> list[str]:
  """What is wrong with the steps of metrics.jsonl."""
  train, records, wrong = run_dir.read_config(workdir).train, runs.records(workdir), []
  for every, name in ((train.log_every, "train/loss"), (train.validate_every, train.best_metric)):
    steps = [line["step"] for line in records if name in line]
    print(f"{len(steps)} lines with {name}, up to step {steps[-1] if steps else 0}")
    # A validation that was due when the run was stopped is made up for by the next life.
    if (
      not steps
      or steps != list(range(every, steps[-1] + 1, every))
      or records[-1]["step"] - steps[-1] > every
    ):
      wrong.append(f"lines with {name} are missing or there twice")
  return wrong


def main(argv: list[str]) -> int:
  parser = argparse.ArgumentParser(usage=__doc__)
  parser.add_argument("--minutes", type=float, default=60)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--folder")
  split = argv.index("--") if "--" in argv else len(argv)
  a, flags = parser.parse_args(argv[:split]), argv[split + 1 :]
  folder = a.folder or tempfile.mkdtemp(prefix="soak_")
  workdir = os.path.join(folder, "run")
  os.makedirs(folder, exist_ok=True)
  toy = [*runs.TOY, workdir, f"--train={json.dumps(TRAIN)}", "--delay=0.02"]
  command = [sys.executable, "-m", "pdr_jax.main", *flags, "--workdir", workdir] if flags else toy
  chance, half, number = random.Random(a.seed), time.monotonic() + 30 * a.minutes, 0
  with open(os.path.join(folder, "log"), "a") as log:
    while time.monotonic() < half:
      seconds, which = chance.uniform(1, LIFE), chance.choice((signal.SIGKILL, signal.SIGTERM))
      starting = chance.random() < 0.3
      killed(command, workdir, seconds, which, log, starting=starting)
      number, steps = number + 1, max((line["step"] for line in runs.records(workdir)), default=0)
      since = "its start" if starting else "its first line"
      print(
        f"life {number}: {which.name} {seconds:.0f} s after {since}; step {steps},"
        f" checkpoint {runs.newest(workdir)}",
        flush=True,
      )
    samples = watched(command, workdir, 30 * a.minutes, log)
  print(f"{number} lives ended by a signal; the last one left alone for {len(samples)} s:")
  wrong = judge_samples(samples) + judge_lines(workdir)
  print("WRONG: " + ", ".join(wrong) if wrong else "nothing wrong", flush=True)
  return 1 if wrong else 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
