"""Distributions on the circle: mixtures of wrapped normals, their density, and their KL to the uniform one.

Angles are in radians. A wrapped normal is a normal of mean `mu` and deviation `s` modulo a full turn (Mardia
and Jupp 2000, section 3.5.7): a draw is `mu + s eps`, which is reparameterised as it stands.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

TURN = 2 * math.pi
SMALLEST_STD = 0.1  # two steps of the grid, where its sums are exact to float32
LARGEST_STD = 3.0  # all but uniform: the density varies by 2 %
GRID = 128  # angles at which the KL's integral is taken
WRAPS = 3  # turns to each side: six deviations of the largest


def density(
  angle: Float[ArrayLike, " G"],
  logits: Float[ArrayLike, "B K"],
  mean: Float[ArrayLike, "B K"],
  std: Float[ArrayLike, "B K"],
) -> Float[Array, "B G"]:
  """The density of each mixture at these angles, per radian.

  `std` is from `SMALLEST_STD` to `LARGEST_STD`.
  """
  weights = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
  weights = weights / weights.sum(axis=-1, keepdims=True)
  turns = TURN * np.arange(-WRAPS, WRAPS + 1, dtype=np.float32)
  # The difference in [-pi, pi) first, so that the turns at hand are those that count.
  away = jnp.mod(angle[None, None] - mean[..., None] + math.pi, TURN) - math.pi
  scaled = (away[..., None] + turns[None, None, None]) / std[..., None, None]
  normal = jnp.exp(-jnp.square(scaled) / 2).sum(axis=-1) / (std[..., None] * math.sqrt(TURN))
  return (weights[..., None] * normal).sum(axis=1)


def kl_to_uniform(
  logits: Float[ArrayLike, "B K"], mean: Float[ArrayLike, "B K"], std: Float[ArrayLike, "B K"]
) -> Float[Array, " B"]:
  """Nats from the uniform distribution to each mixture, >= 0.

  The integral is a sum over an even grid, which converges geometrically for periodic functions (Trefethen and
  Weideman 2014).
  """
  grid = (TURN / GRID) * np.arange(GRID, dtype=np.float32)
  p = density(jnp.asarray(grid), logits, mean, std) * TURN
  inside = p > 1e-12
  return jnp.where(inside, p * jnp.log(jnp.where(inside, p, 1.0)), 0.0).mean(axis=-1)
