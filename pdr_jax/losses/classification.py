"""Cross-entropy of classes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int


def cross_entropy(
  logits: Float[ArrayLike, "B classes"], truth: Int[ArrayLike, " B"]
) -> Float[Array, " B"]:
  """Nats of the true class: `logsumexp(logits) - logits[truth]`, unreduced.

  A class that there is not (the -1 of a missing label) counts as the nearest one, so that the value is
  finite: mask it.
  """
  values = jnp.asarray(logits, jnp.float32)
  index = jnp.clip(jnp.asarray(truth), 0, values.shape[1] - 1)
  picked = jnp.take_along_axis(values, index[:, None], axis=1)[:, 0]
  return jax.nn.logsumexp(values, axis=1) - picked
