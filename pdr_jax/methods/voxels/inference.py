"""What `voxels` says and makes when it is trained."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.losses import circular, latent
from pdr_jax.methods.contract import MODEL_STATE, TrainState, inference_variables
from pdr_jax.methods.shared import gradient_step
from pdr_jax.methods.voxels import pose, projection
from pdr_jax.methods.voxels.model import (
  POSE,
  Code,
  azimuth_of,
  decoded,
  encoded,
  networks,
  normals,
  squared,
  unit,
)

DRAWS = 64  # of an azimuth in a decomposition


def azimuth_draws(variables: dict, code: Code, config: ConfigDict) -> Float[Array, "B N"]:
  """Draws of every picture's azimuth, always the same ones: how sure the method is of it."""
  own, index = config.voxels, jnp.arange(code.mean.shape[0])
  keys = jax.random.split(jax.random.key(1), DRAWS)
  if own.pose == "free":
    return jax.vmap(lambda key: pose.draw_free(variables[POSE], key, index), out_axes=1)(keys)
  if own.pose == "adversarial":
    noise = jax.vmap(lambda key: normals(key, index, ()), out_axes=1)(keys)
    return azimuth_of(variables, code, index, config)[:, None] + own.pose_noise * noise
  posterior = pose.posterior_of(code.pose, own.pose_components)
  return jax.vmap(lambda key: pose.draw(posterior, key, index), out_axes=1)(keys)


def encode(
  variables: dict, images: Float[ArrayLike, "B S S 1"], *, config: ConfigDict
) -> dict[str, Float[Array, "B D"]]:
  """`shape`, the code's mean, and, where the encoder says a pose, `pose`: cosine and sine of the azimuth."""
  code, _ = encoded(networks(config), variables, variables[MODEL_STATE]["statistics"], images, False, config)
  if config.voxels.pose == "free":
    return {"shape": code.mean}
  angle = azimuth_of(variables, code, jnp.arange(images.shape[0]), config)
  return {"shape": code.mean, "pose": jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)}


def volumes(
  variables: dict, codes: Float[ArrayLike, "B D"], config: ConfigDict
) -> Float[Array, "B S S S"]:
  """The logits of the densities of codes, in the canonical frame."""
  statistics = variables[MODEL_STATE]["statistics"]
  return decoded(networks(config), variables, statistics, codes, False, config)[0]


def projected(logits: ArrayLike, azimuth: ArrayLike, config: ConfigDict) -> Float[Array, "B S S"]:
  """The projection in [0, 1] of volumes by their logits."""
  own = config.voxels
  return projection.project(projection.absorption(logits, own.absorption), azimuth, own.elevation)


def textured(variables: dict, seen: ArrayLike, config: ConfigDict) -> Float[Array, "B S S 1"]:
  """The projection in [-1, 1], through the texture network where there is one."""
  if config.voxels.texture:
    seen = networks(config)["texture"].apply({"params": variables["texture"]}, seen)
  return 2 * seen[..., None] - 1


def decompose(
  variables: dict, images: Float[ArrayLike, "B S S 1"], *, config: ConfigDict
) -> dict[str, Array]:
  """`voxels`, densities in (0, 1) in the canonical frame, axes z (forward), y (down), x (right); `azimuth`,
  radians, and `azimuth_draws`, 64 draws of what the method takes it for; `shape`, the code; `projection` and
  `reconstruction`, pictures in [-1, 1], the latter through the texture network where there is one.
  """
  code, _ = encoded(networks(config), variables, variables[MODEL_STATE]["statistics"], images, False, config)
  azimuth = azimuth_of(variables, code, jnp.arange(images.shape[0]), config)
  logits = volumes(variables, code.mean, config)
  seen = projected(logits, azimuth, config)
  return {
    "voxels": projection.density(logits),
    "azimuth": azimuth,
    "azimuth_draws": azimuth_draws(variables, code, config),
    "shape": code.mean,
    "projection": 2 * seen[..., None] - 1,
    "reconstruction": textured(variables, seen, config),
  }


def generate(variables: dict, rng: Array, count: int, *, config: ConfigDict) -> Float[Array, "B S S 1"]:
  """Pictures of codes N(0, `sample_std`^2) from even azimuths."""
  index = jnp.arange(count)
  codes = normals(jax.random.fold_in(rng, 0), index, (config.voxels.code,)) * config.voxels.sample_std
  angle = jax.vmap(
    lambda i: jax.random.uniform(jax.random.fold_in(rng, i + 1), (), maxval=circular.TURN)
  )(index)
  return textured(variables, projected(volumes(variables, codes, config), angle, config), config)


def validate(state: TrainState, batch: dict, axis_name: str | None, *, config: ConfigDict) -> dict:
  """Scores without any draw: of the code's mean and the likeliest azimuth.

  `val/reconstruction` is the sum of squared differences of the projection, in pixels of [0, 1]; `val/texture`
  that of the texture; `val/kl` the code's distance from the prior, nats; `val/occupied` the share of voxels.
  """
  variables, images = inference_variables(state), batch["image"]
  statistics = variables[MODEL_STATE]["statistics"]
  code, _ = encoded(networks(config), variables, statistics, images, False, config)
  index = gradient_step.global_index(images.shape[0], axis_name)
  azimuth = azimuth_of(variables, code, index, config)
  logits, target = volumes(variables, code.mean, config), unit(images)[..., 0]
  density, seen = projection.density(logits), projected(logits, azimuth, config)
  scores = {
    "val/reconstruction": squared(seen, target),
    "val/kl": latent.kl_to_normal(code.mean, code.log_variance),
    "val/occupied": (density > 0.5).astype(jnp.float32).mean(axis=(1, 2, 3)),
  }
  if config.voxels.texture:
    picture = unit(textured(variables, seen, config))[..., 0]
    scores["val/texture"] = squared(picture, target)
  return gradient_step.masked_totals(scores, batch["_mask"], axis_name)
