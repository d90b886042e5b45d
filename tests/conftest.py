"""Strict environment for all tests.

It has several CPU devices, checks annotated shapes, and lets no ranks broadcast silently. Compiled programs
are kept on disk, so that the next run of the same test does not compile again.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import jaxtyping

# Before the first import of the package: every annotated argument, result and dataclass field is checked from
# here on. A jitted function is checked while it is traced. Processes that tests start are not checked: the
# same code has been, here. An int will do where a float is asked for (PEP 484).
TYPECHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
jaxtyping.install_import_hook("pdr_jax", TYPECHECKER)

CACHE = os.environ.get("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/pdr_jax/test_xla"))
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def pytest_configure(config):
  """The fast set runs its programs once: LLVM's optimisation would take more time than it saves.

  XLA's own passes stay. `support.programs.optimised` is for what must hold in the code that users run, and
  the slow set runs that code alone. An optimisation level in XLA_FLAGS goes before this one.
  """
  level, flags = "--xla_backend_optimization_level", os.environ.get("XLA_FLAGS", "")
  if config.option.markexpr != "slow" and level not in flags:
    os.environ["XLA_FLAGS"] = f"{flags} {level}=0".strip()
