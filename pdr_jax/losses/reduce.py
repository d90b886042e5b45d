"""Masked means that do not depend on how a batch is spread over devices."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float


def masked_mean(
  values: Float[ArrayLike, "..."], mask: Float[ArrayLike, "..."] | None = None, axis_name: str | None = None
) -> Float[Array, ""]:
  """Mean of `values` weighted by `mask`, whose axes are the leading axes of `values`.

  An axis of length 1 broadcasts. With `axis_name`, the sum is this device's and the denominator is the mean
  over devices of the mask's sum: the `pmean` of the result, and of its gradient, is then the masked mean (and
  its gradient) of the whole batch, however unevenly the mask is spread. The mask gets no gradient: a loss
  must not be lowered by hiding pixels. An empty mask gives 0 with zero gradients. Values must be finite also
  where the mask is 0.
  """
  if mask is None:
    mask = jnp.ones((1,) * values.ndim, values.dtype)
  if mask.ndim > values.ndim:
    raise ValueError(f"mask {mask.shape} has more axes than values {values.shape}")
  mask = lax.stop_gradient(mask).astype(values.dtype).reshape(mask.shape + (1,) * (values.ndim - mask.ndim))
  mask = jnp.broadcast_to(mask, values.shape)
  total = mask.sum()
  if axis_name is not None:
    total = lax.pmean(total, axis_name)
  return jnp.where(total > 0, (values * mask).sum() / jnp.where(total > 0, total, 1.0), 0.0)
