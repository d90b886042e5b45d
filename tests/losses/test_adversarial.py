"""The critic's loss, its gradient penalty of linear and curved critics in closed form, and similarities."""

import jax
import jax.numpy as jnp
import numpy as np
from support.references import needs_torch, torch

from pdr_jax.losses import adversarial
from pdr_jax.losses.feature_similarity import cosine_distance, smooth_l1


def random(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_the_critic_pushes_real_pictures_up_and_none_far():
  loss = adversarial.critic_loss(jnp.array([2.0]), jnp.array([0.5]), 0.1)
  np.testing.assert_allclose(loss, [0.5 - 2.0 + 0.4], rtol=1e-6)


def test_the_penalty_of_a_linear_critic():
  """Its gradient is the same everywhere: `(|w| - 1)^2`, of which the gradient is `2 (|w| - 1) w / |w|`."""
  weights, real, fake = random(4, 4, 3, seed=1), random(2, 4, 4, 3), random(2, 4, 4, 3, seed=2)

  def penalty(weights):
    return adversarial.gradient_penalty(
      lambda x: jnp.einsum("bhwc,hwc->b", x, weights), real, fake, jnp.array([0.2, 0.9])
    ).sum()

  value, grad = jax.value_and_grad(penalty)(weights)
  length = float(jnp.sqrt(jnp.square(weights).sum()))
  np.testing.assert_allclose(value, 2 * (length - 1) ** 2, rtol=1e-5)
  np.testing.assert_allclose(grad, 4 * (length - 1) * weights / length, rtol=1e-4, atol=1e-6)


def test_the_penalty_looks_between_the_pictures_and_gives_them_no_gradient():
  """Of the critic `s |x|^2 / 2` the gradient is `s x`."""
  real, fake, mix = random(2, 4, 4, 1), random(2, 4, 4, 1, seed=3), jnp.array([0.25, 1.0])

  def penalty(scale, real, fake):
    def critic(x):
      return scale * jnp.square(x).sum(axis=(1, 2, 3)) / 2

    return adversarial.gradient_penalty(critic, real, fake, mix)

  between = jnp.stack([0.25 * real[0] + 0.75 * fake[0], real[1]])
  lengths = jnp.sqrt(jnp.square(between).sum(axis=(1, 2, 3)))
  np.testing.assert_allclose(penalty(0.5, real, fake), (0.5 * lengths - 1) ** 2, rtol=1e-4)
  grads = jax.grad(lambda *inputs: penalty(*inputs).sum(), argnums=(0, 1, 2))(0.5, real, fake)
  np.testing.assert_allclose(grads[0], jnp.sum(2 * (0.5 * lengths - 1) * lengths), rtol=1e-4)
  assert not np.asarray(grads[1]).any() and not np.asarray(grads[2]).any()


def test_a_constant_critic_is_safe():
  grad = jax.grad(
    lambda w: adversarial.gradient_penalty(
      lambda x: w * x.sum(axis=(1, 2, 3)), random(2, 4, 4, 1), random(2, 4, 4, 1), jnp.array([0.5, 0.5])
    ).sum()
  )(0.0)
  assert np.isfinite(grad)


@needs_torch
def test_similarities_are_pytorchs():
  first, second = random(3, 4, 4, 5), random(3, 4, 4, 5, seed=1) * 2
  a, b = (torch.tensor(np.asarray(x)) for x in (first, second))
  cosine = torch.nn.functional.cosine_similarity(a.flatten(1), b.flatten(1))
  np.testing.assert_allclose(cosine_distance(first, second), 1 - cosine, rtol=0, atol=1e-5)
  theirs = torch.nn.functional.smooth_l1_loss(a, b, reduction="none")
  np.testing.assert_allclose(smooth_l1(first, second), theirs, rtol=0, atol=1e-6)


def test_nothing_is_like_nothing():
  zero = jnp.zeros((1, 2, 2, 1))
  value, grad = jax.value_and_grad(lambda x: cosine_distance(x, zero).sum())(zero)
  assert float(value) == 1 and np.isfinite(grad).all()
