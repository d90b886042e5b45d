"""How far the shapes of a batch are from their mean: a prior for one category of objects.

Light and shape are ambiguous in a single picture: a hollow nose under light from the left looks like a nose
under light from the right. Over many pictures they are not ambiguous. Objects that keep close to their mean
share what all pictures say.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float


def deviation(
  depth: Float[ArrayLike, "B H W"], span: float, axis_name: str | None = None
) -> Float[Array, "B H W"]:
  """Squared difference from the mean depth of the whole batch, in units of half the `span`.

  `span` is max - min depth, in model units. The mean is over all devices. It is held fixed for the gradient
  of a sum of squares, which is the same: differences from a mean add up to zero.
  """
  mean = jnp.mean(depth, axis=0)
  if axis_name is not None:
    mean = jax.lax.pmean(mean, axis_name)
  return jnp.square((depth - jax.lax.stop_gradient(mean)[None]) * (2 / span))
