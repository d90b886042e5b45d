"""A critic of pictures that learns how far apart two distributions are (Wasserstein GAN).

Arjovsky et al. 2017; the gradient penalty is that of Gulrajani et al. 2017, the drift term that of Karras et
al. 2018. Scores are not bounded; real pictures shall have the higher ones.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

SMALLEST_SQUARE = 1e-12  # of a gradient's length: keeps its root differentiable


def critic_loss(
  real: Float[ArrayLike, " B"], fake: Float[ArrayLike, " B"], drift: float
) -> Float[Array, " B"]:
  """`-real + fake + drift real^2`, unreduced: real pictures are pushed up, others down, and none far."""
  return fake - real + drift * jnp.square(real)


def gradient_penalty(
  critic: Callable[[Array], Array],
  real: Float[ArrayLike, "B S S C"],
  fake: Float[ArrayLike, "B S S C"],
  mix: Float[ArrayLike, " B"],
) -> Float[Array, " B"]:
  """`(|gradient of the critic| - 1)^2` at pictures between real and fake ones, unreduced.

  `critic` gives scores `[B]`. `mix`, in (0, 1), is the share of the real picture. The gradient is that of the
  sum of all scores, over all devices where the critic looks at the whole batch. Its own gradient goes to what
  `critic` closes over, and not to the pictures.
  """
  mix = mix[:, None, None, None]
  between = jax.lax.stop_gradient(mix * real + (1 - mix) * fake)
  gradient = jax.grad(lambda images: critic(images).sum())(between)
  length = jnp.sqrt(jnp.square(gradient).sum(axis=(1, 2, 3)) + SMALLEST_SQUARE)
  return jnp.square(length - 1)
