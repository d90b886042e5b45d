"""How right a predicted light's direction is, from band 1 of its spherical harmonics (CONVENTIONS.md)."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.metrics import geometry
from pdr_jax.render import safe_ops

LEAST_SHARE = 0.1  # of the band-1 vector: a smaller component has no side to speak of


def band1(light: Float[ArrayLike, "B 9 ..."]) -> Float[Array, "B 3"]:
  """The band-1 vector (x, y, z), the mean over colours of a coloured light.

  It points where the light travels: x > 0 comes from the left of the picture, y > 0 from above.
  """
  vector = jnp.stack([light[:, 3], light[:, 1], light[:, 2]], axis=1)
  return vector.mean(axis=-1) if vector.ndim == 3 else vector


def scores(
  predicted: Float[ArrayLike, "B 9 ..."], true: Float[ArrayLike, "B 9"]
) -> dict[str, tuple[Float[Array, " B"], Float[Array, " B"]]]:
  """Per image a value and the weight with which it counts, 0 or 1.

  `light_error`: the angle between the directions in degrees; a predicted light without a direction is 90 off.
  `light_horizontal`, `light_vertical`: 1 where that component has the right sign. An image counts only where
  the true light has a direction, and for a side only where the true component is at least a tenth of it.
  """
  ours, truth = band1(predicted), band1(true)
  length = safe_ops.safe_norm(truth)
  directed = (length > 0).astype(truth.dtype)
  angle = jnp.where(safe_ops.safe_norm(ours) > 0, geometry.angle(ours, truth), 90.0)
  result = {"light_error": (angle, directed)}
  for name, k in (("light_horizontal", 0), ("light_vertical", 1)):
    right = ours[:, k] * truth[:, k] > 0
    clear = jnp.abs(truth[:, k]) >= LEAST_SHARE * length
    result[name] = (right.astype(truth.dtype), directed * clear)
  return result
