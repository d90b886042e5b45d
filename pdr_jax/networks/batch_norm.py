"""Batch normalisation with running statistics, as PyTorch's `BatchNorm1d` and `BatchNorm2d`.

A network whose layers normalise passes a `Norm` through: does it use the statistics of the batch (and move
the running ones towards them), or the running ones? Statistics of a batch go over all devices of the axis, so
that the number of devices does not matter.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

STATISTICS = "batch_stats"  # the collection of the running statistics
MOMENTUM = 0.1  # what a batch adds to the running statistics
EPSILON = 1e-5


class Norm(NamedTuple):
  """How layers normalise.

  Attributes:
    batch: by the statistics of the batch, which also move the running ones.
    axis_name: the axis of the devices that share the batch; None for a single one.
  """

  batch: bool
  axis_name: str | None = None


RUNNING = Norm(batch=False)


class BatchNorm(nn.Module):
  """Normalises each channel, the last axis; `scale` from N(1, 0.02) and `bias` zero, both `[C]` float32.

  The running statistics `mean` and `var` are `[C]` float32; the variance is the unbiased one, as PyTorch has
  it. The result has the dtype of x.
  """

  @nn.compact
  def __call__(self, x: Float[ArrayLike, "*B C"], norm: Norm) -> Float[Array, "*B C"]:
    channels = x.shape[-1]
    scale = self.param("scale", _near_one, (channels,))
    bias = self.param("bias", nn.initializers.zeros, (channels,))
    running_mean = self.variable(STATISTICS, "mean", jnp.zeros, (channels,))
    running_var = self.variable(STATISTICS, "var", jnp.ones, (channels,))
    values = x.astype(jnp.float32)
    if norm.batch:
      mean, variance, count = moments(values, norm.axis_name)
      if not self.is_initializing():
        unbiased = variance * count / jnp.maximum(count - 1, 1)
        running_mean.value += MOMENTUM * (lax.stop_gradient(mean) - running_mean.value)
        running_var.value += MOMENTUM * (lax.stop_gradient(unbiased) - running_var.value)
    else:
      mean, variance = running_mean.value, running_var.value
    gain = lax.rsqrt(variance + EPSILON) * scale
    shape = (1,) * (x.ndim - 1) + (channels,)
    return (values * gain.reshape(shape) + (bias - mean * gain).reshape(shape)).astype(x.dtype)


def moments(
  values: Float[ArrayLike, "*B C"], axis_name: str | None
) -> tuple[Float[Array, " C"], Float[Array, " C"], Any]:
  """Mean, biased variance and number of the values of each channel, over all devices of the axis."""
  axes = tuple(range(values.ndim - 1))
  both = jnp.stack([values.mean(axis=axes), jnp.square(values).mean(axis=axes)])
  count = values.size // values.shape[-1]
  if axis_name is not None:
    both, count = lax.pmean(both, axis_name), count * lax.psum(1, axis_name)
  mean, square = both
  return mean, jnp.maximum(square - jnp.square(mean), 0.0), count


def _near_one(key: Array, shape: tuple[int, ...]) -> Array:
  return 1.0 + 0.02 * jax.random.normal(key, shape)
