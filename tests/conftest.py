"""Strict environment for all tests: several CPU devices, no silent broadcasting of ranks, cached compiles."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/pdr_jax/test_xla")))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
