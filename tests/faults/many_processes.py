"""A run of several processes equals one of a single process with as many devices.

It is for more of them than CI has cores.

  PYTHONPATH=tests python tests/faults/many_processes.py [--processes=4] [--folder=DIR]

The toy run of this folder, twelve steps with a global batch of eight: every metric of every step, NT-Xent
over all devices' negatives and the norm of its gradient among them, and every array of the last checkpoint
are compared (2e-5: sums in another order). The last validation is compared with a loop over its twelve images
in float64 as well: each counts once. Exit code 0 when all are equal.
"""

import argparse
import os
import sys
import tempfile
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
from support import runs, toy
from support.runs import local_processes


def main(argv: list[str]) -> int:
  parser = argparse.ArgumentParser(usage=__doc__)
  parser.add_argument("--processes", type=int, default=4)
  parser.add_argument("--folder")
  a = parser.parse_args(argv)
  folder = a.folder or tempfile.mkdtemp(prefix="many_processes_")
  one, many = os.path.join(folder, "one"), os.path.join(folder, "many")
  train, show = '--train={"log_every": 1}', lambda i, line: print(f"[{i}] {line}", end="", flush=True)
  since = time.monotonic()
  children = local_processes.start(
    [*runs.TOY, os.path.join(many, "{process}"), train], a.processes, 1, runs.environment()
  )
  codes = local_processes.wait(children, show)
  print(f"{a.processes} processes ended with {codes} after {time.monotonic() - since:.0f} s", flush=True)
  alone = runs.start([*runs.TOY, one, train], sys.stdout, JAX_NUM_CPU_DEVICES=str(a.processes))
  assert alone.wait() == 0 and codes == [0] * a.processes
  assert os.listdir(many) == ["0"], "a process besides the first one has written"
  many = os.path.join(many, "0")
  runs.compare(many, one)
  images, saved = toy.images(16, 10**6)[:12].astype(np.float64), runs.arrays(many, 12)
  error = np.mean(
    [np.square(image @ saved["params/w"] + saved["params/b"] - image[..., :1]).mean() for image in images]
  )
  told = [line["val/error"] for line in runs.records(many) if line["step"] == 12 and "val/error" in line]
  np.testing.assert_allclose(told, [error], rtol=runs.toy_tolerance(0))
  print(
    f"equal: {len(runs.records(one))} lines of metrics, {len(saved)} arrays; validation is that of 12 images",
    flush=True,
  )
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
