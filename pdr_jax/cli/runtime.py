"""What a process sets before it computes: where compiled programs are kept, what becomes of freed memory."""

import ctypes
import os
import sys

# Parameters of `mallopt`, from glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def prepare() -> None:
  """Both settings below; the second one where JAX computes on a CPU.

  Where several processes work together, they have found each other before.
  """
  import jax  # takes seconds: only now, when the flags are known to be right

  cache_compilations()
  if jax.default_backend() == "cpu":
    keep_freed_memory()


def cache_compilations() -> None:
  """Lets JAX keep compiled programs in the user's cache folder. `JAX_COMPILATION_CACHE_DIR` names another.

  The second start of a run then takes seconds and not minutes.
  """
  import jax

  if jax.config.jax_compilation_cache_dir is None:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    jax.config.update("jax_compilation_cache_dir", os.path.join(home, "pdr_jax", "xla"))


def keep_freed_memory() -> bool:
  """Lets the C library keep what is freed, instead of giving it back to the kernel; whether it now does.

  A step's temporaries are hundreds of megabytes. The kernel would hand them out as fresh pages of zeros in
  every step, for a quarter of the step's processor time (benchmarks/README.md). With one arena for all
  threads the process stays smaller, too. Only glibc has these switches. Settings of the environment
  (`MALLOC_...`) go first.
  """
  if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
    return False
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt is None:  # another C library than glibc
    return False
  settings = {M_ARENA_MAX: 1, M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1}
  return all(mallopt(name, value) == 1 for name, value in settings.items())
