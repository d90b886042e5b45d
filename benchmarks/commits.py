"""The training step of several commits or settings, in turns in one run.

    python -m benchmarks.commits before=3894c84 now=. "two devices=.;JAX_NUM_CPU_DEVICES=2"
        [--config configs/heads.py] [--side 32] [--width 16] [--batch 16]

Each argument is `name=TREE[;VARIABLE=VALUE ...]`: a commit (checked out in a temporary `git worktree`) or a
folder, and environment variables. Each has a process of its own, set up as the tree's `pdr_jax.main` does,
which waits while the others are measured. They start from an empty compilation cache, as a new user's first
run: where the tree compiles in another process, so it is here. For each: milliseconds a step, processor time
of user and of system (these hold beside other work as well), the largest resident memory, and the first one's
time over its own, repetition by repetition. `--side 0` and `--width 0` leave those of the configuration.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def prepare() -> None:
  """What the tree's `pdr_jax.main` sets before it computes."""
  try:
    from pdr_jax.cli import runtime
  except ImportError:  # before memory was set
    from pdr_jax.cli.compilation_cache import cache_compilations

    return cache_compilations()
  runtime.keep_freed_memory()  # first, as `pdr_jax.main` does
  runtime.cache_compilations()


def serve(config_name: str, side: int, width: int, batch: int) -> None:
  """Compiles the step, then takes as many steps as each line of standard input says."""
  prepare()
  import jax

  from benchmarks import measure
  from pdr_jax.methods import create
  from pdr_jax.training import step as training

  config = measure.load_config(config_name, width=width, side=side)
  method, images = create(config), {"image": measure.images(batch, config.data.side)}
  state, placed = training.initial_state(method, 0, images), training.place(images)
  root, update = training.stream(0, "train"), training.update_fn(method)
  state, _ = jax.block_until_ready(update(state, placed, root))
  print("ready", flush=True)
  for line in sys.stdin:
    begun, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(int(line)):
      state, _ = update(state, placed, root)
    jax.block_until_ready(state)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    shown = (seconds, after.ru_utime - used.ru_utime, after.ru_stime - used.ru_stime, after.ru_maxrss / 1024)
    print(*shown, flush=True)


def worker(argument: str, folder: str, flags: argparse.Namespace) -> tuple[str, subprocess.Popen]:
  """Starts the process of `name=TREE[;VARIABLE=VALUE ...]` and waits until it has compiled."""
  name, _, rest = argument.partition("=")
  tree, *settings = rest.split(";")
  if not os.path.isdir(tree):
    place = os.path.join(folder, tree)
    if not os.path.isdir(place):
      subprocess.run(["git", "worktree", "add", "--detach", place, tree], cwd=ROOT, check=True)
    tree = place
  tree = os.path.abspath(tree)
  # this file's own process, with the package and the benchmarks of the tree
  environment = os.environ | dict(setting.split("=", 1) for setting in settings) | {"PYTHONPATH": tree}
  environment["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="cache", dir=folder)
  numbers = [str(number) for number in (flags.side, flags.width, flags.batch)]
  command = [sys.executable, os.path.abspath(__file__), "--serve", flags.config, *numbers]
  if os.path.exists(os.path.join(tree, "pdr_jax", "cli", "compile_apart.py")):
    subprocess.run(command, env=environment, cwd=tree, stdin=subprocess.DEVNULL, check=True)
  process = subprocess.Popen(
    command, env=environment, cwd=tree, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
  )
  if process.stdout.readline().strip() != "ready":
    raise SystemExit(f"{name}: the process ended before its first step")
  return name, process


def main() -> None:
  """Parses the command line, measures and prints."""
  if sys.argv[1:2] == ["--serve"]:
    # the tree's own benchmarks come before those beside this file
    sys.path[0] = os.getcwd()
    return serve(sys.argv[2], *map(int, sys.argv[3:]))
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("variants", nargs="+", metavar="name=TREE[;VARIABLE=VALUE]")
  parser.add_argument("--config", default="configs/heads.py", help="FILE[:variant]")
  for name, default in (("side", 32), ("width", 16), ("batch", 16), ("steps", 5), ("repetitions", 11)):
    parser.add_argument(f"--{name}", type=int, default=default)
  flags = parser.parse_args()
  sys.path.insert(0, ROOT)
  import numpy as np

  from benchmarks import measure

  with tempfile.TemporaryDirectory() as folder:
    try:
      workers = dict(worker(argument, folder, flags) for argument in flags.variants)
      measured = {name: [] for name in workers}
      for _ in range(flags.repetitions):
        for name, process in workers.items():
          print(flags.steps, file=process.stdin, flush=True)
          measured[name].append([float(value) for value in process.stdout.readline().split()])
      for process in workers.values():
        process.stdin.close()
        process.wait()
    finally:
      for place in (name for name in os.listdir(folder) if not name.startswith("cache")):
        subprocess.run(["git", "worktree", "remove", "--force", os.path.join(folder, place)], cwd=ROOT)
  print(f"{measure.machine()}\n{flags.config}, side {flags.side}, width {flags.width}, batch {flags.batch}\n")
  times = {name: np.array(values) for name, values in measured.items()}
  first, rows = next(iter(times.values()))[:, 0], []
  for name, values in times.items():
    each = [measure.spread(values[:, column] / flags.steps * 1e3) for column in range(3)]
    rows.append([name, *each, f"{values[:, 3].max():.0f}", measure.spread(first / values[:, 0], 2)])
  header = ["", "ms a step [middle half]", "user ms", "system ms", "peak MiB", "first / this"]
  print(measure.table(header, rows), flush=True)


if __name__ == "__main__":
  main()
