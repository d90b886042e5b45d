"""Strict environment for all tests.

It has several CPU devices, checks annotated shapes, and lets no ranks broadcast silently. Compiled programs
are kept on disk, so that the next run of the same test does not compile again.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
# By the environment, so that the processes which tests start share them: JAX reads it when it is imported.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/pdr_jax/test_xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import jax
import jaxtyping
from support import programs

# Before the first import of the package: every annotated argument, result and dataclass field is checked from
# here on. A jitted function is checked while it is traced. Processes that tests start are not checked: the
# same code has been, here. An int will do where a float is asked for (PEP 484).
TYPECHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
jaxtyping.install_import_hook("pdr_jax", TYPECHECKER)

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
  """Tests run their programs once: most of their compilation would take more time than it saves.

  They go without LLVM's optimisation and, where JAX has the choice, without XLA's newer emitters of fusions,
  which take four times as long as the older ones. All passes on programs as a whole stay. So do those of the
  slow set. The set `users_programs` runs what users run. An optimisation level in XLA_FLAGS goes before all
  this.
  """
  if config.option.markexpr != "users_programs" and not programs.level_is_given():
    quick = [f"--{name}={str(value).lower()}" for name, value in programs.QUICK.items()]
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *quick]).strip()
