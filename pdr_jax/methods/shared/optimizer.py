"""The optimiser: Adam as PyTorch defines it.

L2 is added to the gradient, clipping comes before it, and there is a schedule.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict


def schedule(config: ConfigDict) -> optax.Schedule:
  """Learning rate by step: linear warm-up, then constant, or cosine down to zero at `train.steps`."""
  rate, warmup = config.optim.learning_rate, config.optim.warmup_steps
  main = optax.constant_schedule(rate)
  if config.optim.schedule == "cosine":
    main = optax.cosine_decay_schedule(rate, max(1, config.train.steps - warmup))
  return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), main], [warmup]) if warmup else main


def create(
    config: ConfigDict, multiples: Mapping[str, float] | None = None
) -> optax.GradientTransformation:
  """Clips the global norm, adds L2 (`weight_decay * parameter`) to the gradient, and takes Adam's step.

  See the specification, section 5. `multiples` of the learning rate for single networks: by the name of their
  branch of the parameters.
  """
  optim = config.optim
  return optax.chain(
      optax.clip_by_global_norm(optim.clip_norm) if optim.clip_norm else optax.identity(),
      optax.add_decayed_weights(optim.weight_decay),
      optax.scale_by_adam(b1=optim.b1, b2=optim.b2, eps=1e-8),
      optax.scale_by_learning_rate(schedule(config)),
      *[_multiplied(name, multiple) for name, multiple in (multiples or {}).items() if multiple != 1],
  )


def clip_each(norm: float) -> optax.GradientTransformation:
  """Scales the gradient of every tensor by itself to at most this norm (TensorFlow's `clip_by_norm`).

  0: not at all.
  """
  if not norm:
    return optax.identity()

  def clip(gradient):
    square = jnp.sum(jnp.square(gradient))
    long = square > norm**2
    return gradient * jnp.where(long, norm * jax.lax.rsqrt(jnp.where(long, square, 1.0)), 1.0)

  return optax.stateless(lambda updates, _: jax.tree.map(clip, updates))


def _multiplied(name: str, multiple: float) -> optax.GradientTransformation:
  """Multiplies the steps of one branch of the parameters."""
  return optax.stateless(lambda updates, _: {**updates, name: optax.tree.scale(multiple, updates[name])})
