"""Does this checkout train as another commit does? The losses of the first steps, compared bit for bit.

    python -m benchmarks.same_losses COMMIT [--steps 50] [--only NAME ...] [--folder DIR]

Each configuration below runs once in a git worktree of COMMIT and once in this checkout, on the same machine
with the same data, and logs every step. The exit code is 0 when all losses are equal. A folder that is given
keeps the runs, and those that it holds already are not run again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

from benchmarks import measure

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Name -> the file and its variants, the method, keys that are changed besides.
CONFIGURATIONS = {
    "quickstart": ("configs/quickstart.py", "pdr", {}),
    "perceptual": ("configs/quickstart.py", "pdr", {"loss.perceptual": 1.0}),
    "unsup3d": ("configs/quickstart.py:unsup3d", "pdr", {}),
    "parity": ("configs/quickstart.py:parity", "pdr", {}),
    "vae": ("configs/quickstart.py", "vae", {}),
    "beta_vae": ("configs/quickstart.py", "beta_vae", {"beta_vae.capacity_steps": 20}),
    "vq_vae": ("configs/quickstart.py", "vq_vae", {}),
    "simclr": ("configs/quickstart.py", "simclr", {}),
}
# A configuration file for either checkout. Before 0.2 a configuration had the sections of all methods.
CONFIG = """
import importlib.util
from pdr_jax import config as library

FILE, VARIANTS, METHOD, KEYS = {values!r}

def get_config(_=""):
  spec = importlib.util.spec_from_file_location("original", FILE)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = module.get_config(VARIANTS)
  if hasattr(library, "for_method"):
    config = library.for_method(config, METHOD)
  else:
    config.method = METHOD
    config.train.best_metric = "val/nt_xent" if METHOD == "simclr" else config.train.best_metric
  for key, value in KEYS.items():
    section, name = key.split(".")
    config[section][name] = value
  return config
"""


def main(argv: list[str]) -> int:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("commit")
  parser.add_argument("--steps", type=int, default=50)
  parser.add_argument("--only", nargs="*", choices=CONFIGURATIONS, default=list(CONFIGURATIONS))
  parser.add_argument("--folder")
  flags = parser.parse_args(argv)
  folder = os.path.abspath(flags.folder) if flags.folder else tempfile.mkdtemp(prefix="same_losses_")
  before = os.path.join(folder, "checkout")
  if not os.path.isdir(before):
    subprocess.run(["git", "worktree", "add", "--detach", before, flags.commit], cwd=ROOT, check=True)
  rows, equal = [], True
  try:
    for name in flags.only:
      old, new = (losses(name, tree, folder, flags.steps) for tree in (before, ROOT))
      first = next((k for k, (a, b) in enumerate(zip(old, new, strict=True), 1) if a != b), None)
      equal = equal and first is None and len(new) == flags.steps
      verdict = "equal" if first is None else f"differ from step {first}"
      rows.append([name, str(len(new)), f"{new[0]:.9g}", f"{new[-1]:.9g}", verdict])
      print(f"{name}: {verdict}", flush=True)
  finally:
    if not flags.folder:
      subprocess.run(["git", "worktree", "remove", "--force", before], cwd=ROOT, check=True)
  print(measure.table(["configuration", "steps", "first loss", "last loss", f"against {flags.commit}"], rows))
  return 0 if equal else 1


def losses(name: str, tree: str, folder: str, steps: int) -> list[float]:
  """The training loss of every step of a configuration in a checkout."""
  path, method, changed = CONFIGURATIONS[name]
  path, _, variants = path.partition(":")
  keys = {
    "data.train_examples": 96,
    "data.val_examples": 16,
    "data.cache_dir": os.path.join(folder, "data"),
    "train.steps": steps,
    "train.log_every": 1,
    "train.validate_every": steps,
    "train.checkpoint_every": steps,
    "train.figure_every": 0,
    "train.gradient_norms_every": 0,
  }
  side = "after" if tree == ROOT else "before"
  workdir, config = os.path.join(folder, f"{name}_{side}"), os.path.join(folder, f"{name}_{side}.py")
  with open(config, "w", encoding="utf-8") as file:
    file.write(CONFIG.format(values=(os.path.join(tree, path), variants, method, keys | changed)))
  if not os.path.exists(os.path.join(workdir, "summary.json")):
    command = [sys.executable, "-m", "pdr_jax.main", "--config", config, "--workdir", workdir]
    subprocess.run(command, cwd=tree, env=os.environ | {"PYTHONPATH": tree}, check=True)
  with open(os.path.join(workdir, "metrics.jsonl"), encoding="utf-8") as file:
    records = [json.loads(line) for line in file]
  return [record["train/loss"] for record in records if "train/loss" in record]


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
