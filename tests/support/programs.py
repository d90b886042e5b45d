"""Programs of tests: compiled for the least time to the first result, or as users' programs are."""

import os
from collections.abc import Callable
from typing import Any

import jax

LEVEL, EMITTERS = "xla_backend_optimization_level", "xla_cpu_use_fusion_emitters"
HAS_EMITTERS = jax.__version_info__ < (0, 11)  # later ones have the newer emitters alone
# What users' programs are compiled with, and what takes the least time.
USUAL = {LEVEL: 3} | ({EMITTERS: True} if HAS_EMITTERS else {})
QUICK = {LEVEL: 0} | ({EMITTERS: False} if HAS_EMITTERS else {})


def level_is_given() -> bool:
  """Whether XLA_FLAGS says how programs are optimised: the fast set does, unless whoever runs it has."""
  return LEVEL in os.environ.get("XLA_FLAGS", "")


def compiled(function: Callable, **options: Any) -> Callable:
  """`jax.jit(function, **options)` whose machine code is not optimised: compiles faster, runs slower.

  For a program that runs once or a few times. XLA's own passes (fusion, layouts, rewrites) are the same as
  without; only LLVM's and the newer emitters of fusions are left out. So they are in the whole fast set: this
  is for the slow one, and for helpers of both. It cannot be called inside of another `jit`.
  """
  return jax.jit(function, compiler_options=None if level_is_given() else QUICK, **options)


def optimised(function: Callable, **options: Any) -> Callable:
  """`jax.jit(function, **options)` with the optimisation of users' programs, in the fast set of tests too.

  For what rounding, or a fused multiply and add, could break. It cannot be called inside of another `jit`.
  """
  return jax.jit(function, compiler_options=USUAL, **options)
