"""Programs of tests, compiled for the least time to the first result."""

import os
from collections.abc import Callable
from typing import Any

import jax

LEVEL, EMITTERS = "xla_backend_optimization_level", "xla_cpu_use_fusion_emitters"
# What takes the least time to compile; from JAX 0.11 on there are the newer emitters alone.
QUICK = {LEVEL: 0} | ({EMITTERS: False} if jax.__version_info__ < (0, 11) else {})


def level_is_given() -> bool:
  """Whether XLA_FLAGS says how programs are optimised. Else the fast and the slow set say it."""
  return LEVEL in os.environ.get("XLA_FLAGS", "")


def compiled(function: Callable, **options: Any) -> Callable:
  """`jax.jit(function, **options)` whose machine code is not optimised: compiles faster, runs slower.

  For a program that runs once or a few times. XLA's own passes (fusion, layouts, rewrites) are the same as
  without; only LLVM's and the newer emitters of fusions are left out. So they are in the whole fast and slow
  sets: this is for the set `users_programs` and for helpers. It cannot be called inside of another `jit`.
  """
  return jax.jit(function, compiler_options=None if level_is_given() else QUICK, **options)


def with_users_emitters(function: Callable, **options: Any) -> Callable:
  """`jax.jit(function, **options)` with the fusions of users' programs, in every set.

  The older emitters compute a value again in each fusion that needs it, and may round it otherwise: a
  sampling position on a pixel's centre then has the index of one pixel and the weight of the next. The newer
  ones have not been seen to. It cannot be called inside of another `jit`.
  """
  return jax.jit(function, compiler_options={EMITTERS: True} if EMITTERS in QUICK else None, **options)
