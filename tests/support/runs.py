"""Toy runs as processes of their own, and what they leave behind.

`local_processes` is the launcher of launch/, which is no package.
"""

import importlib.util
import os
import subprocess
import sys
import time
from types import ModuleType

import jax
import numpy as np
import orbax.checkpoint as ocp

from pdr_jax.training.metric_log import read_metrics
from support.tolerances import mean_tolerance

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# What a test leaves running, `no_process_is_left` of faults/conftest.py ends.
STARTED: list[subprocess.Popen] = []
MODULE = [sys.executable, "-m"]
TOY = [*MODULE, "support.toy_run"]


def environment(**more: str) -> dict[str, str]:
  """That of a process which finds `support`, as this one does."""
  paths = [TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]
  return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"} | more


def _load(path: str) -> ModuleType:
  spec = importlib.util.spec_from_file_location("local_processes", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


local_processes = _load(os.path.join(os.path.dirname(TESTS), "launch", "local_processes.py"))


def start(command: list[str], output=subprocess.PIPE, **more: str) -> subprocess.Popen:
  """One process of its own, stdout and stderr together; `more` are variables of its environment."""
  pipes = dict(stdout=output, stderr=subprocess.STDOUT, text=True, errors="replace")
  child = subprocess.Popen(command, env=environment(**more), **pipes)
  STARTED.append(child)
  return child


def records(workdir) -> list[dict]:
  """The lines of metrics.jsonl without speeds."""
  return [
    {name: value for name, value in line.items() if not name.startswith("speed")}
    for line in read_metrics(str(workdir))
  ]


def newest(workdir) -> int:
  """The step of the newest finished checkpoint, -1 without one."""
  folder = os.path.join(workdir, "checkpoints")
  return max(
    (int(name) for name in (os.listdir(folder) if os.path.isdir(folder) else ()) if name.isdigit()),
    default=-1,
  )


def arrays(workdir, step: int) -> dict[str, np.ndarray]:
  """Every array of a checkpoint by its path, read without any code of ours."""
  leaves = {}
  with ocp.PyTreeCheckpointer() as reader:
    for item in ("params", "ema", "model_state", "rest"):
      folder = os.path.join(os.path.abspath(workdir), "checkpoints", str(step), item)
      if os.path.isdir(folder):
        tree = reader.metadata(folder).item_metadata.tree
        tree = reader.restore(
          folder, restore_args=jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
          leaves[f"{item}/{jax.tree_util.keystr(path, simple=True, separator='/')}"] = np.asarray(leaf)
  return leaves


def toy_tolerance(steps: int) -> float:
  """Of parameters, losses and scores of the toy methods after so many steps, in another order of sums.

  Gradients are means over 8 pictures of 4 x 4 pixels of 3 numbers of about one. A step of Adam is a twentieth
  of a gradient over the root of its mean square, which stays above a twentieth; momentum's steps are smaller.
  So every step adds the rounding of a gradient, and a loss or a score adds its own.
  """
  return (steps + 1) * mean_tolerance(8 * 4 * 4 * 3)


def compare(workdir, whole) -> None:
  """Every metric of every line, and every array of the newest checkpoint, are those of another run.

  Only the order of sums may differ.
  """
  step = newest(whole)
  tolerance = dict(rtol=toy_tolerance(step), atol=toy_tolerance(step))
  got, wanted = records(workdir), records(whole)
  assert [sorted(line) for line in got] == [sorted(line) for line in wanted]
  names = {name for line in wanted for name in line}
  assert {
    "train/loss",
    "train/contrast",
    "train/contrast_gradient",
    "val/error",
    "gradient_norm/photometric",
  } <= names
  for a, b in zip(got, wanted, strict=True):
    for name in b:
      np.testing.assert_allclose(a[name], b[name], **tolerance, err_msg=f"{name} at step {b['step']}")
  a, b = arrays(workdir, step), arrays(whole, step)
  assert a.keys() == b.keys() and len(a) >= 6
  for name in b:
    np.testing.assert_allclose(a[name], b[name], **tolerance, err_msg=name)


def until(true, process: subprocess.Popen | None = None, seconds: float = 1800) -> None:
  """Waits for something that a run does; fails when the run ends before.

  On a busy machine two processes have taken 400 s to start.
  """
  end = time.monotonic() + seconds
  while not true():
    assert time.monotonic() < end, "it did not happen"
    assert process is None or process.poll() is None, process.stdout.read()
    time.sleep(0.02)
