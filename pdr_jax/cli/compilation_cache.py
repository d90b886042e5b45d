"""Compiled programs are kept on disk, so that the second start of a run takes seconds and not minutes."""

import os


def cache_compilations() -> None:
  """Lets JAX keep compiled programs in the user's cache folder. `JAX_COMPILATION_CACHE_DIR` names another."""
  import jax  # takes seconds: only now, when the flags are known to be right

  if jax.config.jax_compilation_cache_dir is None:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    jax.config.update("jax_compilation_cache_dir", os.path.join(home, "pdr_jax", "xla"))
