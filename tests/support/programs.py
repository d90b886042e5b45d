"""Programs of tests, compiled for the least time to the first result."""

from collections.abc import Callable
from typing import Any

import jax


def compiled(function: Callable, **options: Any) -> Callable:
  """`jax.jit(function, **options)` whose machine code is not optimised: compiles faster, runs slower.

  For a program that runs once or a few times. XLA's own passes (fusion, layouts, rewrites) are the same as
  without; only LLVM's are left out. Don't call it inside of another `jit`, and don't use it where the
  optimised code is what is tested.
  """
  return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0}, **options)
