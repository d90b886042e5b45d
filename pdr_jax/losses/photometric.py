"""Per-pixel reconstruction losses: of Unsup3D (specification, section 5), and of pictures in (0, 1)."""

import math

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

EPSILON = 1e-7


def photometric(predicted: Float[ArrayLike, "B H W C"], target: Float[ArrayLike, "B H W C"],
                confidence: Float[ArrayLike, "B H W"] | None = None) -> Float[Array, "B H W C"]:
  """Absolute difference, or with `confidence` the Laplace negative log-likelihood.

  The latter is |R - I| sqrt2/(s+eps) + log(s+eps) at confidence s > 0. Unreduced; the likelihood's
  constant log(sqrt 2) is left out, as in Unsup3D, so the value may be negative.
  """
  difference = jnp.abs(predicted - target)
  if confidence is None:
    return difference
  scale = confidence[..., None] + EPSILON
  return difference * math.sqrt(2) / scale + jnp.log(scale)


def squared(predicted: Float[ArrayLike, "*S"], target: Float[ArrayLike, "*S"]) -> Float[Array, "*S"]:
  """The squared difference, unreduced."""
  return jnp.square(predicted - target)


def cross_entropy(predicted: Float[ArrayLike, "*S"], target: Float[ArrayLike, "*S"]) -> Float[Array, "*S"]:
  """The binary cross-entropy of pixels in [0, 1], unreduced.

  Behind a sigmoid its gradient does not vanish where the sigmoid is saturated, as that of the squared
  difference does.
  """
  sure = jnp.log(predicted + EPSILON), jnp.log1p(EPSILON - predicted)
  return -(target * sure[0] + (1.0 - target) * sure[1])


RECONSTRUCTIONS = {"squared": squared, "cross_entropy": cross_entropy}
