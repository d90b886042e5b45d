"""Programs of tests: compiled for the least time to the first result, or as users' programs are."""

from collections.abc import Callable
from typing import Any

import jax

LEVEL = "xla_backend_optimization_level"


def compiled(function: Callable, **options: Any) -> Callable:
  """`jax.jit(function, **options)` whose machine code is not optimised: compiles faster, runs slower.

  For a program that runs once or a few times. XLA's own passes (fusion, layouts, rewrites) are the same as
  without; only LLVM's are left out. It cannot be called inside of another `jit`.
  """
  return jax.jit(function, compiler_options={LEVEL: 0}, **options)


def optimised(function: Callable, **options: Any) -> Callable:
  """`jax.jit(function, **options)` with the optimisation of users' programs, in the fast set of tests too.

  For what rounding, or a fused multiply and add, could break. It cannot be called inside of another `jit`.
  """
  return jax.jit(function, compiler_options={LEVEL: 3}, **options)
