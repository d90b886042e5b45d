"""Absolute tolerances that follow from the arithmetic.

A comparison therefore says how far rounding may move a result. Every floating-point operation rounds its
result by at most half an eps, relative to it. Compilers choose the order of a sum, fuse multiply and add, and
use other vector widths on other machines: two right programs differ by such roundings, and no test may depend
on them. The `size` of the functions below is the magnitude of what is rounded (of one term, of an
intermediate result), not of the final result, which may be small by cancellation.

All take `dtype`, the type in which the operations are done: float32 unless said.
"""

import jax.numpy as jnp
import numpy as np


def eps(dtype=np.float32) -> float:
  """The distance from one to the next larger number: 1.2e-7 in float32, 7.8e-3 in bfloat16."""
  return float(jnp.finfo(dtype).eps)


def rounding(operations: int, size: float = 1.0, dtype=np.float32) -> float:
  """Of `operations` in a row on numbers up to `size`.

  Each costs an eps, so half of it for either side of the comparison.
  """
  return operations * eps(dtype) * size


def sum_tolerance(terms: int, size: float = 1.0, dtype=np.float32) -> float:
  """Of a sum of `terms` numbers (or products) whose typical magnitude is `size`, in any order.

  Of a few terms, `size` is the largest magnitude: there is no typical one.

  The roundings of the partial sums add up like a random walk (Higham and Mary 2019, "A new approach to
  probabilistic rounding error analysis"): `4 sqrt(terms)` times half an eps, relative to the sum of the
  magnitudes. The worst case, `terms` halves, never happens.
  """
  return 2 * terms**0.5 * eps(dtype) * terms * size


def mean_tolerance(terms: int, size: float = 1.0, dtype=np.float32) -> float:
  """Of a mean of `terms` numbers whose typical magnitude is `size`.

  It is the sum's tolerance over the number of terms.
  """
  return sum_tolerance(terms, size, dtype) / terms


def difference_tolerance(step: float, size: float, third: float, dtype=np.float32) -> float:
  """Of a central difference `(f(x + step) - f(x - step)) / (2 step)` against the derivative.

  Rounding of values of `size`, a few eps over the step, and the rest of the Taylor series, `step^2 / 6` times
  the `third` derivative.
  """
  return 4 * eps(dtype) * size / step + step**2 / 6 * third


def assert_within(actual, expected, tolerance) -> None:
  """Every number within its own absolute tolerance; `tolerance` broadcasts against the arrays."""
  error = np.abs(np.asarray(actual, np.float64) - expected)
  used = np.where(error > 0, error / tolerance, 0.0)
  worst = np.unravel_index(np.argmax(np.where(np.isnan(used), np.inf, used)), used.shape)
  assert used[worst] <= 1, f"at {worst}: off by {error[worst]:.3g}, {used[worst]:.3g} times the tolerance"
