"""VICReg's three terms (Bardes, Ponce, LeCun 2022, arXiv 2105.04906, equations 1 to 5).

Variance and covariance are statistics of the global batch. With `axis_name` every device gives the same
values, those of all devices' rows together, and the `pmean` of their gradients is the gradient of the whole
batch.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

EPSILON = 1e-4  # under the root of the deviation (equation 2)


def invariance(
  first: Float[ArrayLike, "B D"], second: Float[ArrayLike, "B D"]
) -> Float[Array, " B"]:
  """The squared distance of both views over D (equation 5).

  The equation does not divide by D; the released code does, and the published weights go with it.
  """
  return jnp.square(first - second).mean(axis=-1)


def variance(
  features: Float[ArrayLike, "B D"], *, target: float = 1.0, mask: Float[ArrayLike, " B"] | None = None,
  axis_name: str | None = None
) -> Float[Array, " D"]:
  """`max(0, target - sqrt(Var + EPSILON))` of each dimension (equations 1 and 2), Var over B - 1.

  Rows where `mask` is 0 do not count.
  """
  centred, weights, count = _centred(features, mask, axis_name)
  spread = _total((weights * jnp.square(centred)).sum(axis=0), axis_name) / _degrees(count)
  return jax.nn.relu(target - jnp.sqrt(spread + EPSILON))


def covariance(
  features: Float[ArrayLike, "B D"], *, mask: Float[ArrayLike, " B"] | None = None,
  axis_name: str | None = None
) -> Float[Array, " D"]:
  """`sum over j != i of C_ij^2` for each dimension i, C over B - 1 (equations 3 and 4: their mean).

  Rows where `mask` is 0 do not count.
  """
  centred, weights, count = _centred(features, mask, axis_name)
  products = jnp.matmul((weights * centred).T, centred, precision=lax.Precision.HIGHEST)
  matrix = _total(products, axis_name) / _degrees(count)
  others = 1 - jnp.eye(matrix.shape[0], dtype=matrix.dtype)
  return (jnp.square(matrix) * others).sum(axis=1)


def _centred(
  features: ArrayLike, mask: ArrayLike | None, axis_name: str | None
) -> tuple[Float[Array, "B D"], Float[Array, "B 1"], Float[Array, ""]]:
  """The rows less the mean of all devices' rows, their weights, and the number of rows that count."""
  rows = jnp.asarray(features, jnp.float32)
  weights = jnp.ones((rows.shape[0], 1)) if mask is None else jnp.asarray(mask, jnp.float32)[:, None]
  count = _total(weights.sum(), axis_name)
  mean = _total((weights * rows).sum(axis=0), axis_name) / jnp.maximum(count, 1.0)
  return rows - mean[None], weights, count


def _degrees(count: Float[Array, ""]) -> Float[Array, ""]:
  """Degrees of freedom; a single row has no spread."""
  return jnp.maximum(count - 1, 1.0)


def _total(value: Array, axis_name: str | None) -> Array:
  return value if axis_name is None else lax.psum(value, axis_name)
