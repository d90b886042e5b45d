"""Operations whose gradients stay finite everywhere.

The *input* of the unsafe operation is masked, never its result. Masking the result is not enough: `where(ok,
f(x), 0)` multiplies a zero cotangent with the infinite derivative of `f`.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

# Squared lengths below this count as zero: 1e-15 in length, far below anything in model units or pixels; its
# reciprocal is still a float32.
SMALLEST_SQUARE = 1e-30


def safe_divide(
  numerator: Float[ArrayLike, "..."], denominator: Float[ArrayLike, "..."], otherwise: float = 0.0
) -> Float[Array, "..."]:
  """`numerator / denominator`, or `otherwise` where the denominator is within 1e-15 of zero.

  `otherwise` has zero gradient there.
  """
  usable = jnp.abs(denominator) > SMALLEST_SQUARE**0.5
  return jnp.where(usable, numerator / jnp.where(usable, denominator, 1.0), otherwise)


def safe_sqrt(x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
  """`sqrt(max(x, 0))`, with zero gradient where x is below 1e-30 (there sqrt's slope is unbounded)."""
  usable = x > SMALLEST_SQUARE
  return jnp.where(usable, jnp.sqrt(jnp.where(usable, x, 1.0)), 0.0)


def safe_norm(vectors: Float[ArrayLike, "... N"], keepdims: bool = False) -> Float[Array, "..."]:
  """Euclidean length over the last axis; zero, with zero gradient, for vectors shorter than 1e-15."""
  return safe_sqrt(jnp.sum(jnp.square(vectors), axis=-1, keepdims=keepdims))


def normalize(vectors: Float[ArrayLike, "... N"]) -> Float[Array, "... N"]:
  """Unit vectors over the last axis; vectors shorter than 1e-15 become zero, with zero gradient."""
  square = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
  usable = square > SMALLEST_SQUARE
  # A division by the square root, because rsqrt's derivative, the power -3/2, leaves float32's range for
  # short vectors.
  return jnp.where(usable, vectors / jnp.sqrt(jnp.where(usable, square, 1.0)), 0.0)
