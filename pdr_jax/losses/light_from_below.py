"""A prior on light: on the mean of many pictures it comes from above.

Relief from top to bottom and light from above or below explain a picture as well with both reversed
(Belhumeur, Kriegman and Yuille 1999, the bas-relief ambiguity), and dark hair over a bright face looks like
light from below. People take light to come from above as well (Ramachandran 1988). A mean of nothing is not
enough: faces then lean from forehead to chin, and pitch makes up for it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

LEAST = 0.15  # mean vertical light that counts as from above; the embedded people's is .16


def light_from_below(vertical: Float[ArrayLike, " B"], axis_name: str | None = None) -> Float[Array, " B"]:
  """Values whose mean is the square of what the batch's mean vertical light lacks to `LEAST`; else 0.

  `vertical` is in units of shading, positive from above. The mean is over all devices. It is held fixed, and
  each value has the gradient of the square by its own light, so that gradients of devices may be averaged.
  """
  mean = jnp.mean(vertical)
  if axis_name is not None:
    mean = jax.lax.pmean(mean, axis_name)
  lack = jax.lax.stop_gradient(jnp.maximum(LEAST - mean, 0.0))
  return lack**2 - 2 * lack * (vertical - jax.lax.stop_gradient(vertical))
