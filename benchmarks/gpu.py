"""Every row of `benchmarks/README.md` that needs a GPU, in one call of under eight minutes.

  python -m benchmarks.gpu --out OUT [--minutes 8] [--quick]

Each row is a script of this folder in a process of its own, so that one that fails or runs out of memory
leaves the others alone, and no two are on the card together; programs that two rows share are compiled once.
What a row prints is in `OUT/NAME.txt` while it runs; `OUT/results.md` is written anew after each row: how it
ended, and its last lines. Rows for which no time is left are named there too. `--quick` runs each at its
smallest size, on any device: do they run?
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LAST_LINES = 40  # of a row's output, in the table
LEAST = 0.5  # seconds that must be left for a row to begin
SMALL = ("--config", "configs/heads.py:small")


class Row(NamedTuple):
  """A script with its words, its words for `--quick`, and the most seconds that it may take."""

  name: str
  words: tuple[str, ...]
  quick: tuple[str, ...]
  seconds: int


STEP = ("benchmarks.step", "throughput")
QUICK_STEP = (*STEP, *SMALL, "--width", "8", "--dtypes", "float32", "--batches", "2", "--quick")
ROWS = (
  Row("throughput", (*STEP, "--dtypes", "bfloat16,float32", "--batches", "64,256,1024"), QUICK_STEP, 150),
  Row(
    "roofline_bfloat16",
    ("benchmarks.roofline", "--dtype", "bfloat16", "--batch", "256"),
    ("benchmarks.roofline", *SMALL, "--width", "8", "--batch", "2", "--quick"),
    120,
  ),
  Row(
    "extraction",
    ("benchmarks.step", "extraction", "--batch", "256", "--dtypes", "bfloat16"),
    ("benchmarks.step", "extraction", *SMALL, "--width", "8", "--batch", "2", "--quick"),
    60,
  ),
  Row("normalize", ("benchmarks.normalize", "--batch", "256"), ("benchmarks.normalize", "--quick"), 60),
  Row(
    "rasterizer",
    ("benchmarks.rasterizer", "--no-naive"),
    ("benchmarks.rasterizer", "--side", "16", "--batch", "2", "--repeats", "2", "--no-naive"),
    60,
  ),
  Row("small_models", (*STEP, *SMALL, "--batches", "64,512"), QUICK_STEP, 60),
  Row(
    "largest_batch",
    (*STEP, "--dtypes", "bfloat16", "--batches", "2048", "--until_full", "--repetitions", "3"),
    QUICK_STEP,
    120,
  ),
)


def run(row: Row, out: str, quick: bool, seconds: float, compiled: str) -> str:
  """How the row ended. Its output is `OUT/NAME.txt`; JAX may take nearly all of the card's memory.

  `compiled` is the folder of programs that rows share.
  """
  environment = {
    **os.environ, "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95", "JAX_COMPILATION_CACHE_DIR": compiled
  }
  with open(os.path.join(out, f"{row.name}.txt"), "w", encoding="utf-8") as file:
    command = [sys.executable, "-m", *(row.quick if quick else row.words)]
    try:
      code = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=file, stderr=file, timeout=seconds, check=False
      ).returncode
    except subprocess.TimeoutExpired:
      return f"stopped after {seconds:.0f} s"
  return "done" if code == 0 else f"failed with exit code {code}"


def report(ends: dict[str, str], out: str, quick: bool) -> None:
  """Writes `OUT/results.md` from what is known by now."""
  lines = []
  for row in ROWS:
    lines += [f"## {row.name}: {ends.get(row.name, 'not begun')}", ""]
    if row.name in ends and os.path.exists(path := os.path.join(out, f"{row.name}.txt")):
      with open(path, encoding="utf-8") as file:
        last = file.read().splitlines()[-LAST_LINES:]
      words = row.quick if quick else row.words
      lines += [f"`python -m {' '.join(words)}`", "", "```", *last, "```", ""]
  path = os.path.join(out, "results.md")
  with open(path + ".part", "w", encoding="utf-8") as file:
    file.write("\n".join(lines) + "\n")
  os.replace(path + ".part", path)


def main() -> int:
  """Runs the rows in order; 1 if one of them did not end well."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--out", required=True, help="folder for the results")
  parser.add_argument("--minutes", type=float, default=8.0, help="for all rows together")
  parser.add_argument("--quick", action="store_true", help="smallest sizes, on any device: do they run?")
  a = parser.parse_args()
  os.makedirs(a.out, exist_ok=True)
  end, ends = time.monotonic() + 60 * a.minutes, {}
  with tempfile.TemporaryDirectory() as compiled:
    for row in ROWS:
      start = time.monotonic()
      left = end - start if a.quick else min(row.seconds, end - start)
      ends[row.name] = run(row, a.out, a.quick, left, compiled) if left > LEAST else "no time was left"
      print(f"{row.name}: {ends[row.name]} ({time.monotonic() - start:.0f} s)", flush=True)
      report(ends, a.out, a.quick)
  print(f"results: {os.path.join(a.out, 'results.md')}")
  return 0 if all(ended == "done" for ended in ends.values()) else 1


if __name__ == "__main__":
  sys.exit(main())
