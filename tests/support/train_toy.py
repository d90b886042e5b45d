"""A run of any toy method in a process of its own:

  PYTHONPATH=tests python -m support.train_toy METHOD WORKDIR [--init_from=DIR] [--train='{"steps": 40}']
      [--changes='{"side": 16}'] [--delay=SECONDS]

`--changes`: of `data` and of the method's own section.

`--delay`: how long each batch takes.
"""

import argparse
import json
import os
import sys
import time

if __name__ == "__main__":
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  sys.modules["torch"] = None  # TensorBoard's writer would import it, which takes seconds

import jax
from ml_collections import ConfigDict

from pdr_jax.config import base
from pdr_jax.config_checks import validate
from pdr_jax.training import loop
from support import toy_data


def config(method: str, init_from: str = "", changes: dict | None = None, **train) -> ConfigDict:
  """A run of twelve steps of a toy method; `changes` are of `data` and of the method's own section."""
  settings = base(method)
  settings.init_from = init_from
  for key, value in (changes or {}).items():
    section = settings.data if key in settings.data else settings[method]
    section[key] = value
  cadence = dict(log_every=1, validate_every=4, figure_every=12, checkpoint_every=4, gradient_norms_every=6)
  settings.train.update(cadence | dict(batch_size=8, steps=12) | train)
  validate(settings, jax.device_count())
  return settings


def main(argv: list[str]) -> int:
  parser = argparse.ArgumentParser(usage=__doc__)
  parser.add_argument("method")
  parser.add_argument("workdir")
  parser.add_argument("--init_from", default="")
  parser.add_argument("--train", type=json.loads, default={})
  parser.add_argument("--changes", type=json.loads, default={})
  parser.add_argument("--delay", type=float, default=0.0)
  flags = parser.parse_args(argv[1:])
  # Or a busy machine compiles at each start.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

  class Slow(toy_data.Stream):
    def __next__(self):
      time.sleep(flags.delay)
      return super().__next__()

  settings = config(flags.method, flags.init_from, flags.changes, **flags.train)
  data = toy_data.data(settings, Slow)
  return loop.train(settings, os.path.abspath(flags.workdir), data=data).exit_code


if __name__ == "__main__":
  sys.exit(main(sys.argv))
