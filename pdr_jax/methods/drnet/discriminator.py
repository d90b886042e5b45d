"""DrNET's discriminator of pairs of poses: what it learns from, and what it is right about."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.methods.shared import gradient_step


class Pairs(NamedTuple):
  """What the discriminator learns from: pairs of pose vectors `[N,2P]` and their labels `[N]`."""

  poses: Float[Array, "N D"]
  labels: Float[Array, " N"]


def pairs(
  first: Float[ArrayLike, "B P"], second: Float[ArrayLike, "B P"], rng: Array, axis_name: str | None,
  config: ConfigDict,
) -> Pairs:
  """Pairs of one clip and of two, of which no gradient flows to the pose encoder.

  `second` gets its partner from another clip of the global batch by a shift of random length. Of
  `fresh_pairs` the first half of the global batch stays paired, and the second half is shifted within itself.
  """
  first, second = jax.lax.stop_gradient((first, second))
  everywhere = second if axis_name is None else jax.lax.all_gather(second, axis_name, tiled=True)
  index, total = gradient_step.global_index(first.shape[0], axis_name), everywhere.shape[0]
  same = float(config.drnet.same_label)
  if config.drnet.fresh_pairs:
    half = total - total // 2
    shift = jax.random.randint(rng, (), 1, total // 2)
    moved = half + (index - half + shift) % (total // 2)
    paired = index < half
    other = everywhere[jnp.where(paired, index, moved)]
    labels = jnp.where(paired, same, 1.0 - same)
    return Pairs(jnp.concatenate([first, other], axis=-1), labels)
  shift = jax.random.randint(rng, (), 1, total)
  other = everywhere[(index + shift) % total]
  rows = jnp.concatenate([jnp.concatenate([first, second], -1), jnp.concatenate([first, other], -1)])
  return Pairs(rows, jnp.repeat(jnp.array([same, 1.0 - same]), first.shape[0]))


def loss(params: dict, given: Pairs, nets: dict) -> tuple[Array, dict[str, Array]]:
  """Binary cross-entropy, and the accuracy for the log."""
  logits = nets["discriminator"].apply({"params": params}, given.poses)
  right = (logits > 0) == (given.labels > 0.5)
  value = optax.sigmoid_binary_cross_entropy(logits, given.labels).mean()
  return value, {"discriminator": value, "discriminator_accuracy": right.astype(jnp.float32).mean()}


def adversary_loss(
  params: dict, pose: Float[ArrayLike, "B P"], partner: Float[ArrayLike, "B P"], nets: dict
) -> Float[Array, ""]:
  """How sure a fixed discriminator is about pairs of one clip: cross-entropy with one half.

  The gradient goes to `pose` alone.
  """
  given = jnp.concatenate([pose, jax.lax.stop_gradient(partner)], axis=-1)
  logits = nets["discriminator"].apply({"params": jax.lax.stop_gradient(params)}, given)
  return optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, 0.5)).mean()


def accuracy(
  params: dict, first: Float[ArrayLike, "B P"], last: Float[ArrayLike, "B P"], valid: Float[ArrayLike, " B"],
  axis_name: str | None, nets: dict, config: ConfigDict,
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
  """How often it is right of two pairs of each clip, 0 to 1, and 1 for the clips that count.

  The poses of a clip's two frames are a pair of one clip; with the last pose of the clip before it in the
  global batch, the first one is a pair of two. A clip counts where it and the one before it are no padding,
  which repeats a clip; one that is alone in its batch has no partner.
  """
  index = gradient_step.global_index(first.shape[0], axis_name)
  everywhere = jnp.asarray(last), jnp.asarray(valid)
  if axis_name is not None:
    everywhere = jax.lax.all_gather(everywhere, axis_name, tiled=True)
  poses, counts = everywhere
  before = (index - 1) % counts.shape[0]
  sign = 1.0 if config.drnet.same_label else -1.0
  same, other = (
    sign * nets["discriminator"].apply({"params": params}, jnp.concatenate([first, second], axis=-1))
    for second in (last, poses[before])
  )
  right = ((same > 0).astype(jnp.float32) + (other <= 0).astype(jnp.float32)) / 2
  return right, valid * counts[before] * (before != index)
