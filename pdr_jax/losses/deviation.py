"""How far the objects of a batch are from their mean: priors for one category of objects.

Light and shape are ambiguous in a single picture: a hollow nose under light from the left looks like a nose
under light from the right. So are light and albedo: a face that is darker towards the chin may be painted so
or lit from above. Over many pictures they are not ambiguous. Objects that keep close to their mean share what
all pictures say.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float


def deviation(
  depth: Float[ArrayLike, "B H W"], span: float, axis_name: str | None = None
) -> Float[Array, "B H W"]:
  """Squared difference from the mean depth of the whole batch, in units of half the `span`.

  `span` is max - min depth, in model units. The mean is over all devices.
  """
  return jnp.square(_from_mean(depth, axis_name) * (2 / span))


def slope_deviation(
  albedo: Float[ArrayLike, "B H W C"], axis_name: str | None = None
) -> Float[Array, " B"]:
  """Squared difference of each albedo's slope from top to bottom from the mean slope of the whole batch.

  The slope is that of a least-squares line through the rows of the middle half, each the mean of the middle
  quarter of its columns and of all channels; rows run from -1 (top of the picture) to 1. What makes it differ
  from picture to picture is mostly light.
  """
  height, width = albedo.shape[1:3]
  rows = np.linspace(-1, 1, height, dtype=np.float32)[height // 4 : height - height // 4]
  columns = slice(width * 3 // 8, width - width * 3 // 8)
  means = albedo[:, height // 4 : height - height // 4, columns].mean(axis=(2, 3))
  return jnp.square(_from_mean(means @ (rows / np.sum(rows**2)), axis_name))


def _from_mean(values: Float[ArrayLike, "B ..."], axis_name: str | None) -> Float[Array, "B ..."]:
  """The difference from the mean of the whole batch.

  The mean is held fixed for the gradient of a sum of squares, which is the same: differences from a mean add
  up to zero.
  """
  mean = jnp.mean(values, axis=0)
  if axis_name is not None:
    mean = jax.lax.pmean(mean, axis_name)
  return values - jax.lax.stop_gradient(mean)[None]
