"""Measures of PDR's four factors against truth, and what they show without it, as (sum, count) pairs.

A ratio of sums over batches and devices is exact whatever their sizes, so each measure is one: a mean, a
share, or the slope of a line through the origin. `deviation` needs two means, see
`training.validation.with_deviations`.
"""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.methods.pdr import light as light_model
from pdr_jax.methods.pdr.scene import Scene
from pdr_jax.metrics import geometry, landmarks
from pdr_jax.metrics import light as light_metrics

ANGLES = {"pitch": 0, "yaw": 1, "roll": 2}  # their places in a view
LANDMARKS = "canonical_landmarks"  # nose tip, then what should lie behind it: u, v, depth at the zero view
Pairs = dict[str, tuple[Array, Array]]


def without_truth(scene: Scene, valid: Float[ArrayLike, " B"], config: ConfigDict) -> Pairs:
  """Mean vertical light (units of shading, positive: above); means and mean squares of angles (degrees).

  Where the configuration has no angles, they are left out: all of them are zero, which says nothing.
  """
  pairs = {"light_from_above": _mean(light_model.from_above(scene.light), valid)}
  for name, place in ANGLES.items() if config.scene.rotation_range else ():
    degrees = geometry.DEGREES * scene.view[:, place]
    pairs[f"{name}_mean"], pairs[f"{name}_squared"] = _mean(degrees, valid), _mean(degrees**2, valid)
  return pairs


def against_truth(
  scene: Scene,
  depth_at_view: Float[ArrayLike, "B S S"],
  mask: Float[ArrayLike, "B S S"],
  batch: Mapping[str, ArrayLike],
  valid: Float[ArrayLike, " B"],
) -> Pairs:
  """What the truth in a batch allows.

  From `depth` and `mask` the scale of the relief, from `view` the slopes of the angles, from `light` its
  direction, from `canonical_landmarks` the order of depth in the canonical map.
  """
  pairs: Pairs = {}
  if "depth" in batch and "mask" in batch:
    moments = geometry.log_moments(depth_at_view, batch["depth"], mask, batch["mask"])
    count = moments["pixels"] * valid
    pairs["relief_scale"] = (
      jnp.sum(moments["product"] * count), jnp.sum(moments["predicted_squared"] * count)
    )
  if "view" in batch and batch["view"].shape == scene.view.shape:
    for name, place in ANGLES.items():
      predicted, true = scene.view[:, place], batch["view"][:, place]
      pairs[f"{name}_slope"] = (jnp.sum(predicted * true * valid), jnp.sum(predicted**2 * valid))
  if "light" in batch and batch["light"].shape == (scene.view.shape[0], 9):
    pairs |= light_pairs(light_model.as_sh(scene.light), batch["light"], valid)
  if LANDMARKS in batch:
    pairs |= landmark_pairs(scene.depth, batch[LANDMARKS], valid)
  return pairs


def light_pairs(
  predicted: Float[ArrayLike, "B 9 ..."], true: Float[ArrayLike, "B 9"], valid: Float[ArrayLike, " B"]
) -> Pairs:
  """`metrics.light` of spherical-harmonic lights, as pairs."""
  scores = light_metrics.scores(predicted, true)
  return {name: (jnp.sum(value * weight * valid), jnp.sum(weight * valid))
          for name, (value, weight) in scores.items()}


def landmark_pairs(
  canonical_depth: Float[ArrayLike, "B S S"],
  places: Float[ArrayLike, "B L 3"],
  valid: Float[ArrayLike, " B"],
) -> Pairs:
  """`metrics.landmarks.nose_order` of a canonical depth read at the true canonical places, as pairs."""
  depth = landmarks.read(canonical_depth, places[..., :2])
  scores = landmarks.nose_order(depth, places[..., 2])
  return {name: (jnp.sum(right * valid), jnp.sum(count * valid)) for name, (right, count) in scores.items()}


def _mean(values: Float[ArrayLike, " B"], valid: Float[ArrayLike, " B"]) -> tuple[Array, Array]:
  return jnp.sum(values * valid), jnp.sum(valid)
