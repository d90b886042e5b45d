"""beta-VAE with an annealed capacity (Burgess et al. 2018): the VAE with another second term.

The loss is reconstruction + gamma |KL - C| (their equation 8), where C grows linearly with the steps.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int
from ml_collections import ConfigDict

from pdr_jax.losses.reduce import masked_mean
from pdr_jax.methods import vae
from pdr_jax.methods.contract import Description, Method
from pdr_jax.methods.shared import baseline, gradient_step
from pdr_jax.rules import at_least


def create(config: ConfigDict) -> Method:
  """The method `beta_vae`."""
  weights = {"reconstruction": 1.0, "capacity": config.beta_vae.gamma}
  return vae.system(config, partial(divergence, config=config), weights)


def divergence(
    mean: Float[ArrayLike, "B D"], std: Float[ArrayLike, "B D"], step: ArrayLike, axis_name: str | None, *,
    config: ConfigDict
) -> tuple[dict[str, Array], dict[str, Array]]:
  """`capacity`, the distance of the KL from C, and the KL for the log.

  The absolute value is that of the whole batch's mean. Its sign is taken over all devices, so that their
  terms, and gradients, average to it and to its gradient.
  """
  kl = masked_mean(vae.kl_to_prior(mean, std), None, axis_name)
  target = capacity(step, config)
  side = jax.lax.stop_gradient(jnp.sign(gradient_step.mean_over(kl, axis_name) - target))
  return {"capacity": side * (kl - target)}, {"kl": kl}


def capacity(step: Int[ArrayLike, ""], config: ConfigDict) -> Float[Array, ""]:
  """C, in nats: from 0 at step 0 to `beta_vae.capacity` at `beta_vae.capacity_steps`, constant from there."""
  return config.beta_vae.capacity * jnp.minimum(step / config.beta_vae.capacity_steps, 1.0)


def defaults() -> dict[str, dict[str, Any]]:
  return baseline.defaults() | dict(
      beta_vae=dict(
          gamma=10.0,             # weight of |KL - C|; with the published 1000 the KL alone teaches small
                                  # pictures' codes, which then say nothing
          capacity=50.0,          # nats, C at the end of its growth from 0
          capacity_steps=2_500,   # how long it grows
      ),
  )


METHOD = Description(
    defaults=defaults,
    rules=baseline.RULES | {
        "beta_vae.gamma": at_least(0),
        "beta_vae.capacity": at_least(0),
        "beta_vae.capacity_steps": at_least(1),
    },
    variants={"small": baseline.small},
    check=baseline.check,
    reads=baseline.reads,
    create=create,
)
