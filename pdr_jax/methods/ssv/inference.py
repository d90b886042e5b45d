"""What SSV's networks say and make when they are trained."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.losses import angles
from pdr_jax.methods.contract import MODEL_STATE, TrainState, inference_variables
from pdr_jax.methods.shared import gradient_step
from pdr_jax.methods.ssv import model
from pdr_jax.methods.ssv.model import Seen, draw, synthesize, view_of
from pdr_jax.networks.ssv import ANGLES
from pdr_jax.render.safe_ops import safe_divide

SHOWN = {"azimuth": 5, "elevation": 3, "tilt": 3}  # steps of each angle's sweep in figures
LARGEST_SHOWN = 180.0  # of a full circle the last step would be the first


def see(variables: dict, images: Float[ArrayLike, "B S S C"], config: ConfigDict) -> Seen:
  """What is seen in pictures, each by itself."""
  deviation = variables[MODEL_STATE]["deviation"]
  return model.see(variables["viewpoint"], images, config, deviation=deviation)


def encode(
  variables: dict, images: Float[ArrayLike, "B S S C"], *, config: ConfigDict
) -> dict[str, Float[Array, "B D"]]:
  """`style`, both codes; `view`, cosines and sines of azimuth, elevation and tilt; `features`, what all are
  read from.
  """
  seen = see(variables, images, config)
  found = view_of(seen)
  directions = jnp.concatenate([jnp.cos(found), jnp.sin(found)], axis=-1)
  return {"style": seen.codes, "view": directions, "features": seen.features}


def decompose(
  variables: dict, images: Float[ArrayLike, "B S S C"], *, config: ConfigDict
) -> dict[str, Array]:
  """`style`, both codes; `angles` `[B,3]`, azimuth, elevation and tilt in radians, with a zero, a unit and
  directions of the method's own; `reconstruction`, the picture that is made of both, in [-1, 1].
  """
  seen = see(variables, images, config)
  rebuilt = synthesize(variables["synthesis"], seen.codes, view_of(seen), config)
  return {"style": seen.codes, "angles": view_of(seen), "reconstruction": jnp.clip(rebuilt, -1, 1)}


def turn(
  variables: dict, images: Float[ArrayLike, "B S S C"], turned: Float[ArrayLike, "B 3"], *, config: ConfigDict
) -> Float[Array, "B S S C"]:
  """Pictures of the same styles from other viewpoints (the `angles` of `decompose`), in [-1, 1]."""
  codes = see(variables, images, config).codes
  return jnp.clip(synthesize(variables["synthesis"], codes, turned, config), -1, 1)


def generate(variables: dict, rng: Array, count: int, *, config: ConfigDict) -> Float[Array, "B S S C"]:
  """New pictures in [-1, 1]."""
  drawn = draw(rng, jnp.arange(count), config)
  return jnp.clip(synthesize(variables["synthesis"], *drawn, config), -1, 1)


# ---------------------------------------------------------------- validation


def diversity(
  made: Float[ArrayLike, "B S S C"],
  real: Float[ArrayLike, "B S S C"],
  mask: Float[ArrayLike, " B"] | None = None,
  axis_name: str | None = None,
) -> Float[Array, ""]:
  """How far generated pictures differ, relative to the data: 1 as much, 0 where all are the same.

  Both are roots of the pixels' mean variance over the global batch.
  """
  mask = jnp.ones(real.shape[0]) if mask is None else jnp.asarray(mask)
  total = gradient_step.mean_over(mask.mean(), axis_name)

  def deviation(pictures):
    def mean(values):
      weighted = (values * mask[:, None, None, None]).mean(axis=0)
      return gradient_step.mean_over(weighted, axis_name) / jnp.maximum(total, 1e-6)

    return jnp.sqrt(mean(jnp.square(pictures - mean(pictures)[None])).mean())

  return jax.lax.stop_gradient(safe_divide(deviation(jnp.asarray(made)), deviation(jnp.asarray(real))))


def degrees_between(first: Float[ArrayLike, "B 3"], second: Float[ArrayLike, "B 3"]) -> Float[Array, " B"]:
  """The mean over the angles of how far two are apart, the shorter way round."""
  away = jnp.mod(first - second + math.pi, 2 * math.pi) - math.pi
  return jnp.rad2deg(jnp.abs(away)).mean(axis=-1)


def validate(state: TrainState, batch: dict, axis_name: str | None, *, config: ConfigDict) -> dict:
  """Scores of pictures and of as many generated ones, the same at every call.

  `val/reconstruction` is the mean absolute difference of a picture from what is made of its codes and
  viewpoint; `val/found_view` how far the viewpoint that is seen in a generated picture is from the one it was
  made of, degrees, and `val/found_code` the squared difference of its codes; `val/symmetry` how far the
  mirrored picture's viewpoint is from the mirrored viewpoint, degrees; `val/critic_gap` how much higher the
  critic scores pictures than generated ones, and `val/distance` how far these are from each other (root of
  the pixels' summed squared differences), which is the widest gap of a critic whose slope is 1;
  `val/diversity` see `diversity`; `val/azimuth_spread` the deviation of the azimuths, degrees.
  """
  variables, images, mask = inference_variables(state), batch["image"], batch["_mask"]
  count = images.shape[0]
  index = gradient_step.global_index(count, axis_name)
  drawn = draw(jax.random.key(0), index, config)
  made = synthesize(variables["synthesis"], *drawn, config)
  # one pass for all three kinds of pictures
  everything = see(variables, jnp.concatenate([images, images[:, :, ::-1], made]), config)
  real, mirrored, found = (
    everything._replace(**{
      name: value[i * count : (i + 1) * count]
      for name, value in everything._asdict().items() if name not in ("maps", "deviation")
    })
    for i in range(3)
  )
  rebuilt = synthesize(variables["synthesis"], real.codes, view_of(real), config)
  azimuth = jnp.rad2deg(view_of(real)[:, 0])
  scores = {
    "val/reconstruction": jnp.abs(rebuilt - images).mean(axis=(1, 2, 3)),
    "val/found_view": degrees_between(view_of(found), drawn.angles),
    "val/found_code": jnp.square(found.codes - drawn.codes).mean(axis=-1),
    "val/symmetry": degrees_between(view_of(mirrored), angles.mirrored(view_of(real))),
    "val/critic_gap": real.realism - found.realism,
    "val/distance": jnp.sqrt(jnp.square(made - images).sum(axis=(1, 2, 3))),
    "val/diversity": jnp.full((count,), 1.0) * diversity(made, images, mask, axis_name),
    "val/azimuth_mean": azimuth,
    "val/azimuth_squared": jnp.square(azimuth),
  }
  return gradient_step.masked_totals(scores, mask, axis_name)


# ---------------------------------------------------------------- figures


def pictures(
    variables: dict, images: Float[ArrayLike, "B S S C"], *, config: ConfigDict
) -> dict[str, Float[Array, "B S S C"]]:
  """What a sheet shows of pictures: what is made of their codes and viewpoints (`reconstruction`); each angle
  swept with the style and the other angles fixed; the style of the first picture from the viewpoint of each;
  and new pictures.
  """
  seen = see(variables, images, config)
  codes, found = seen.codes, view_of(seen)
  drawn = draw(jax.random.key(0), jnp.arange(images.shape[0]), config)
  shown = {"reconstruction": (codes, found)}
  for i, name in enumerate(ANGLES):
    for degrees in sweep(config, name):
      shown[f"{name} {degrees:+.0f}"] = codes, found.at[:, i].set(math.radians(degrees))
  shown["style of the first"] = jnp.repeat(codes[:1], len(codes), axis=0), found
  shown["view of the first"] = codes, jnp.repeat(found[:1], len(codes), axis=0)
  shown["sample"] = tuple(drawn)
  # One after the other, so that one program makes them all.
  inputs = [jnp.stack(part) for part in zip(*shown.values(), strict=True)]
  made = jax.lax.map(lambda given: synthesize(variables["synthesis"], *given, config), inputs)
  return {name: jnp.clip(values, -1, 1) for name, values in zip(shown, made, strict=True)}


def sweep(config: ConfigDict, name: str) -> list[float]:
  """The degrees of an angle that figures show, over the range that it is drawn from."""
  limit, steps = config.ssv[name], SHOWN[name]
  if limit >= LARGEST_SHOWN:
    return (np.arange(steps) * (360 / steps) - 180 + 180 / steps).tolist()
  return np.linspace(-limit, limit, steps).tolist() if limit else []
