"""Per-pixel reconstruction losses: of Unsup3D (specification, section 5), and of the logits of pictures."""

import math

import jax
import jax.numpy as jnp
import optax
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


def squared(logits: Float[ArrayLike, "*S"], target: Float[ArrayLike, "*S"]) -> Float[Array, "*S"]:
  """The squared difference of pixels, which are the sigmoid of `logits`, from those in [0, 1], unreduced."""
  return jnp.square(jax.nn.sigmoid(logits) - target)


def cross_entropy(logits: Float[ArrayLike, "*S"], target: Float[ArrayLike, "*S"]) -> Float[Array, "*S"]:
  """The binary cross-entropy of pixels by their `logits` and those in [0, 1], unreduced.

  Its gradient by the logits, the pixels' difference, does not vanish where the sigmoid is saturated, as that
  of the squared difference does. Of pixels it would: in float32 they are 1 from a logit of 17 on.
  """
  return optax.sigmoid_binary_cross_entropy(logits, target)


RECONSTRUCTIONS = {"squared": squared, "cross_entropy": cross_entropy}
