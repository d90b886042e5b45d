"""mu-VAE (Ucar 2019, arXiv 1910.13181): the VAE with latent clipping, and absolute batch means for the KL.

The loss is reconstruction + beta (|mean_b sum_d mean| + |mean_b sum_d log variance|), or the same for every
dimension by itself. It asks that posteriors agree with the prior on average, not each.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.losses import latent
from pdr_jax.methods import vae
from pdr_jax.methods.contract import Description, Method
from pdr_jax.methods.shared import baseline
from pdr_jax.rules import ANYTHING, at_least

LARGEST = 174.0  # of |log variance|: a little further, float32's exponential of its half is infinite or zero


def create(config: ConfigDict) -> Method:
  """The method `mu_vae`."""
  own, size = config.mu_vae, baseline.representation_size(config)
  nets = vae.networks(config) | {"posterior": ClippedPosterior(size, own.clip_mean, own.clip_log_variance)}
  weights = {"reconstruction": 1.0, "code": own.beta}
  return vae.system(config, partial(divergence, config=config), weights, nets)


class ClippedPosterior(nn.Module):
  """The bottleneck to mean and raw deviation, as `vae.posterior` reads them, both clipped by row.

  The radii are multiples of the root of `size`; 0: not clipped. A log variance beyond `LARGEST` counts as
  that, without gradient.
  """

  size: int
  clip_mean: float
  clip_log_variance: float

  @nn.compact
  def __call__(self, z: Float[ArrayLike, "B E"]) -> Float[Array, "B D"]:
    mean, log_variance = jnp.split(nn.Dense(2 * self.size, name="dense")(z), 2, axis=-1)
    root = self.size**0.5
    if self.clip_mean:
      mean = latent.clip_rows(mean, self.clip_mean * root)
    if self.clip_log_variance:
      log_variance = latent.clip_rows(log_variance, self.clip_log_variance * root)
    std = jnp.exp(jnp.clip(log_variance, -LARGEST, LARGEST) / 2)
    return jnp.concatenate([mean, std + jnp.log(-jnp.expm1(-std)) - vae.UNIT_STD], axis=-1)  # softplus^-1


def divergence(
  mean: Float[ArrayLike, "B D"], std: Float[ArrayLike, "B D"], step: ArrayLike, axis_name: str | None, *,
  config: ConfigDict,
) -> tuple[dict[str, Array], dict[str, Array]]:
  """`code`, mu-VAE's term, and the KL for the log."""
  term = latent.mu_vae_per_dimension if config.mu_vae.per_dimension else latent.mu_vae
  return {"code": term(mean, 2 * jnp.log(std), axis_name)}, {"kl": vae.kl_to_prior(mean, std).mean()}


def defaults() -> dict[str, dict[str, Any]]:
  return baseline.defaults() | dict(
      mu_vae=dict(
          beta=1.0,               # weight of the absolute means
          per_dimension=False,    # an absolute value for each dimension; False: of their sums, as released
          clip_mean=6.0,          # radius of the means, times the root of the number of dimensions; 0: free
          clip_log_variance=1.0,  # the same of the logarithms of the variances
      ),
  )


METHOD = Description(
    defaults=defaults,
    rules=baseline.RULES | {
        "mu_vae.beta": at_least(0),
        "mu_vae.per_dimension": ANYTHING,
        "mu_vae.clip_mean": at_least(0),
        "mu_vae.clip_log_variance": at_least(0),
    },
    variants={"small": baseline.small},
    check=baseline.check,
    reads=baseline.reads,
    create=create,
)
