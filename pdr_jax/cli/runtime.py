"""What a process sets before it computes: what becomes of freed memory, where compiled programs are kept."""

import ctypes
import importlib.metadata
import importlib.util
import os
import sys

# Parameters of `mallopt`, from glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def cache_compilations() -> None:
  """Lets JAX keep compiled programs in the user's cache folder. `JAX_COMPILATION_CACHE_DIR` names another.

  The second start of a run then takes seconds and not minutes.
  """
  import jax  # takes seconds: only now, when the flags are known to be right

  if jax.config.jax_compilation_cache_dir is None:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    jax.config.update("jax_compilation_cache_dir", os.path.join(home, "pdr_jax", "xla"))


def keep_freed_memory() -> bool:
  """Lets the C library keep what is freed, instead of giving it back to the kernel; whether it now does.

  A step's temporaries are hundreds of megabytes. The kernel would hand them out as fresh pages of zeros in
  every step, for a quarter of the step's processor time (benchmarks/README.md). All threads have to share one
  arena for that, and a thread keeps the one that it has: to be called before NumPy and JAX start theirs. Only
  glibc has these switches. Settings of the environment (`MALLOC_...`) go first, and where JAX may find an
  accelerator nothing changes.
  """
  given = any(name.startswith("MALLOC_") for name in os.environ)
  if given or accelerated() or not sys.platform.startswith("linux"):
    return False
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt is None:  # another C library than glibc
    return False
  settings = {M_ARENA_MAX: 1, M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1}
  return all(mallopt(name, value) == 1 for name, value in settings.items())


def accelerated() -> bool:
  """Whether JAX may find an accelerator: one's plugin is installed, and `JAX_PLATFORMS` does not say cpu."""
  if os.environ.get("JAX_PLATFORMS") == "cpu":
    return False
  plugins = importlib.metadata.entry_points(group="jax_plugins")
  return bool(plugins) or importlib.util.find_spec("libtpu") is not None
