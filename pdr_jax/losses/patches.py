"""What a masked autoencoder is to say of the patches that it does not see (He et al. 2022, section 3)."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

EPSILON = 1e-6  # added to a patch's variance: one of a single colour becomes zeros


def normalized(patches: Float[ArrayLike, "B N P"]) -> Float[Array, "B N P"]:
  """Each patch less its mean, over its deviation (the variance is over P - 1, as in the released code)."""
  mean, deviation = statistics(patches)
  return (patches - mean) / deviation


def statistics(patches: Float[ArrayLike, "B N P"]) -> tuple[Float[Array, "B N 1"], Float[Array, "B N 1"]]:
  """Mean and deviation (> 0) of each patch."""
  mean = jnp.mean(patches, axis=-1, keepdims=True)
  degrees = max(1, patches.shape[-1] - 1)
  return mean, jnp.sqrt(jnp.square(patches - mean).sum(axis=-1, keepdims=True) / degrees + EPSILON)


def squared_error(
  predicted: Float[ArrayLike, "B N P"], target: Float[ArrayLike, "B N P"]
) -> Float[Array, "B N"]:
  """The mean over a patch's numbers, unreduced over patches: mask those that were seen."""
  return jnp.square(predicted - target).mean(axis=-1)
