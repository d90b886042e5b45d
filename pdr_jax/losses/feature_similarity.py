"""How alike two pictures are by the features of a fixed network."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

SMALLEST_SQUARE = 1e-12  # of a length: keeps its root differentiable


def cosine_distance(
  first: Float[ArrayLike, "B ..."], second: Float[ArrayLike, "B ..."]
) -> Float[Array, " B"]:
  """`1 - cosine` of two feature maps as one vector each, in [0, 2]; 1 where either is zero."""
  first, second = (jnp.asarray(x).reshape(x.shape[0], -1) for x in (first, second))
  squares = [jnp.square(x).sum(axis=1) + SMALLEST_SQUARE for x in (first, second)]
  return 1 - (first * second).sum(axis=1) * jax.lax.rsqrt(squares[0]) * jax.lax.rsqrt(squares[1])


def smooth_l1(first: Float[ArrayLike, "..."], second: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
  """Huber's loss of a difference: half its square up to 1, beyond that its size less a half; unreduced."""
  size = jnp.abs(first - second)
  return jnp.where(size < 1, size**2 / 2, size - 0.5)
