"""A run's programs, compiled by a process of its own before the run on a CPU.

Compiling leaves millions of small objects behind, and between them thousands of free places of as many sizes.
The C library keeps these sorted, and goes through them whenever a step frees its temporaries: in a process
that has compiled, steps of small networks take half as long again (benchmarks/README.md, "A cold start"). The
run reads the programs from the cache instead.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import subprocess
import sys
import threading
import time

from etils import epath
from ml_collections import ConfigDict

from pdr_jax.errors import UserError

WORTH = 500  # steps, from which on the run wins more than the second process takes
COMPILE_ONLY = "PDR_JAX_COMPILE_ONLY"  # environment variable of the second process


def is_asked() -> bool:
  """Whether this is the process that compiles."""
  return bool(os.environ.get(COMPILE_ONLY))


def pays(config: ConfigDict, workdir: str) -> bool:
  """Whether a run is long, fresh, alone and on a CPU, and its programs have not been compiled here before."""
  import jax

  from pdr_jax.training.checkpoints import FOLDER

  train = config.train
  alone = jax.default_backend() == "cpu" and jax.process_count() == 1 and train.steps_per_dispatch == 1
  fresh = not config.init_from and not epath.Path(workdir, FOLDER).exists()
  kept = jax.config.jax_enable_compilation_cache and jax.config.jax_compilation_cache_dir
  return alone and fresh and bool(kept) and train.steps >= WORTH and not _marker(config).exists()


def where_it_pays(config: ConfigDict, workdir: str, argv: list[str]) -> None:
  """Waits for a process that prepares the data and compiles. Where it fails, the run does both itself."""
  if not pays(config, workdir):
    return
  print("first start: another process prepares the data and compiles", flush=True)
  # XLA's complaints about long compilations are no news here.
  environment = os.environ | {COMPILE_ONLY: "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
  done = subprocess.run([sys.executable, "-m", "pdr_jax.main", *argv[1:]], env=environment, check=False)
  if done.returncode == 0:
    with contextlib.suppress(OSError):  # a folder that takes no file has no programs either
      _marker(config).parent.mkdir(parents=True, exist_ok=True)
      _marker(config).touch()


def compile_all(config: ConfigDict) -> int:
  """What the other process does; its exit code. It leaves it to the run to tell the user's mistakes."""
  threading.Thread(target=_end_with_the_run, args=(os.getppid(),), daemon=True).start()
  try:
    _compile(config)
  except (UserError, KeyboardInterrupt):
    return 1
  return 0


def _end_with_the_run(run: int) -> None:
  """Ends this process when the run's process, which waits for it, is gone."""
  while os.getppid() == run:
    time.sleep(1)
  os._exit(1)


def _compile(config: ConfigDict) -> None:
  """Compiles step, validation and pictures into JAX's cache."""
  from pdr_jax import methods
  from pdr_jax.training import loop, nonfinite
  from pdr_jax.training import step as steps
  from pdr_jax.training.validation import Validator

  config = loop.filled_in(config)
  data, method = loop.open_data(config), methods.create(config)
  state = steps.initial_state(method, config.seed, loop.example_of(data))
  root = steps.stream(config.seed, "update")
  print("compiling", flush=True)
  update = steps.update_fn(nonfinite.guarded(method, config.train))
  update.lower(state, steps.place(next(data.train)), root).compile()
  steps.validate_fn(method).lower(state, steps.place(next(iter(data.validation)))).compile()
  if config.train.figure_every and method.pictures is not None:
    inputs = Validator(method, data.validation).first(methods.describe(config.method).input)
    variables = steps.on_one_device(methods.inference_variables(state))
    steps.pictures_fn(method).lower(variables, inputs).compile()


def _marker(config: ConfigDict) -> epath.Path:
  """The file that says that these programs lie in the cache: by configuration, versions and flags."""
  import jax

  versions = [importlib.metadata.version(name) for name in ("pdr_jax", "jax", "jaxlib")]
  flags = os.environ.get("XLA_FLAGS", "")
  told = repr((config.to_json_best_effort(sort_keys=True), versions, flags, jax.device_count()))
  name = f"compiled-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
  return epath.Path(str(jax.config.jax_compilation_cache_dir), name)
