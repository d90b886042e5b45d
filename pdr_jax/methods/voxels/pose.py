"""The three ways to an azimuth: free, adversarial and circular."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from pdr_jax.losses.circular import LARGEST_STD, SMALLEST_STD, TURN
from pdr_jax.networks.voxels import PoseNoise

NOISE = 12  # numbers that a free pose is made of
PARTS = 4  # of a component of a circular posterior: logit, two of its direction, deviation


class Posterior(NamedTuple):
  """Mixtures of K wrapped normals: logits of the weights, means and deviations, radians."""

  logits: Float[Array, "B K"]
  mean: Float[Array, "B K"]
  std: Float[Array, "B K"]


def outputs(pose: str, components: int) -> int:
  """Numbers that the encoder says of a pose."""
  return {"free": 0, "adversarial": 2, "circular": PARTS * components}[pose]


# ---------------------------------------------------------------- free


def init_free(rng: Array, batch_size: int) -> dict:
  """`slots`, a mean and the logarithm of a variance for each place of a batch, and `net`, which they feed."""
  zeros = jnp.zeros((batch_size, NOISE))
  slots = {"mean": zeros, "log_variance": jnp.zeros_like(zeros)}
  return {"slots": slots, "net": PoseNoise().init(rng, zeros[:1])["params"]}


def draw_free(params: dict, rng: Array, index: Int[ArrayLike, " B"]) -> Float[Array, " B"]:
  """Azimuths, radians from 0 to a full turn; `index` are places in a batch, and any number has its slot."""
  slots = params["slots"]
  slot = index % slots["mean"].shape[0]
  noise = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(rng, i), (NOISE,)))(index)
  noise = slots["mean"][slot] + noise * jnp.exp(slots["log_variance"][slot] / 2)
  return (PoseNoise().apply({"params": params["net"]}, noise) + 1) * math.pi


def free_term(params: dict) -> Float[Array, ""]:
  """mu-VAE's term of the slots: `|mean sum mean| + |mean sum log_variance|`."""
  return sum(jnp.abs(values.sum(axis=-1).mean()) for values in params["slots"].values())


# ---------------------------------------------------------------- the encoder's


def direction(raw: Float[ArrayLike, "*B 2"]) -> Float[Array, "*B 2"]:
  """(cosine, sine): the raw pair on the unit circle; (1, 0) where it has no direction."""
  square = jnp.sum(jnp.square(raw), axis=-1, keepdims=True)
  known = square > 1e-12
  ahead = jnp.zeros_like(raw).at[..., 0].set(1.0)
  return jnp.where(known, raw * jax.lax.rsqrt(jnp.where(known, square, 1.0)), ahead)


def angle_of(direction: Float[ArrayLike, "*B 2"]) -> Float[Array, "*B"]:
  """Radians in [-pi, pi] of points on the circle."""
  return jnp.arctan2(direction[..., 1], direction[..., 0])


def posterior_of(raw: Float[ArrayLike, "B P"], components: int) -> Posterior:
  """The mixture that the encoder's raw numbers say.

  Without a say of the encoder, means are spread evenly over the circle, with deviations of half their
  distance.
  """
  parts = raw.reshape(raw.shape[0], components, PARTS)
  even = np.arange(components, dtype=np.float32) * (TURN / components)
  ahead = np.stack([np.cos(even), np.sin(even)], axis=-1)
  mean = angle_of(direction(parts[..., 1:3] + ahead[None]))
  start = (min(TURN / (2 * components), 1.8) - SMALLEST_STD) / (LARGEST_STD - SMALLEST_STD)
  share = jax.nn.sigmoid(parts[..., 3] + math.log(start / (1 - start)))
  return Posterior(parts[..., 0], mean, SMALLEST_STD + (LARGEST_STD - SMALLEST_STD) * share)


def most_probable(posterior: Posterior) -> Float[Array, " B"]:
  """The mean of the component of the largest weight."""
  best = jnp.argmax(posterior.logits, axis=-1)
  return jnp.take_along_axis(posterior.mean, best[:, None], axis=1)[:, 0]


def draw(posterior: Posterior, rng: Array, index: Int[ArrayLike, " B"]) -> Float[Array, " B"]:
  """A draw of each mixture; every picture has its own stream, by its index."""

  def of_picture(logits, mean, std, i):
    choice, noise = jax.random.split(jax.random.fold_in(rng, i))
    k = jax.random.categorical(choice, logits)
    return mean[k] + std[k] * jax.random.normal(noise)

  return jax.vmap(of_picture)(*posterior, index)
