"""Reconstruction loss between feature maps (specification, section 5)."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

EPSILON = 1e-7


def perceptual(predicted: Float[ArrayLike, "B h w D"], target: Float[ArrayLike, "B h w D"],
               confidence: Float[ArrayLike, "B h w"] | None = None) -> Float[Array, "B h w D"]:
  """Squared difference, or with `confidence` the Gaussian negative log-likelihood.

  The latter is (a-b)^2/(2 s^2+eps) + log(s+eps) at confidence s > 0. Unreduced, constant left out
  as in Unsup3D.
  """
  difference = jnp.square(predicted - target)
  if confidence is None:
    return difference
  scale = confidence[..., None]
  return difference / (2 * jnp.square(scale) + EPSILON) + jnp.log(scale + EPSILON)


def pool_mask(mask: Float[ArrayLike, "B H W"], side: int) -> Float[Array, "B h w"]:
  """Average-pools a mask to `side` rows and columns, the size of a feature map.

  H and W are multiples of `side`.
  """
  batch, height, width = mask.shape
  if height % side or width % side:
    raise ValueError(f"a mask of {height} x {width} does not pool to {side} x {side}")
  return jnp.mean(jnp.reshape(mask, (batch, side, height // side, side, width // side)), axis=(2, 4))
