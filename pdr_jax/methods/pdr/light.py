"""The light models of PDR: how a network's bounded outputs become a light, its shading, and its perturbation.

A light is an array. `sh`: `[B,9]` spherical-harmonic coefficients; `sh_rgb`: `[B,9,3]`, one set per colour;
`directional`: `[B,5]`, ambient, diffuse and the unit direction. All live in the canonical frame
(CONVENTIONS.md).
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.metrics import light as light_metrics
from pdr_jax.render import camera, lighting, safe_ops

OUTPUTS = {"sh": 9, "sh_rgb": 27, "directional": 4}

# Coefficients per unit of shading: an ambient shading of 1 has L_00 = 2 sqrt(pi); a directional light of
# strength b has L_1m = pi b Y_1m(l), and pi Y_1m <= pi sqrt(3 / 4 pi).
AMBIENT_UNIT = 2 * math.sqrt(math.pi)
BAND1_UNIT = math.pi * math.sqrt(3 / (4 * math.pi))
BAND2_UNIT = math.pi / 2


def from_outputs(outputs: Float[ArrayLike, "B L"], config: ConfigDict) -> Float[Array, "B ..."]:
  """Maps the light network's outputs in (-1, 1) to a light.

  `sh`, in units of shading: ambient (l = 0) in (0, 1), so it stays positive; band 1 in (-1/2, 1/2) for x and
  y, and (0, 1/2) for z: the net light comes from the front, as Unsup3D's does; band 2 coefficients within
  +-pi/2. Together: what one source of unit strength can give. `directional` (Unsup3D): ambient in (0, 1),
  diffuse in (`diffuse_min`, 1), direction (lx, ly, 1) normalised, lx and ly in (-1, 1).
  """
  if config.scene.light == "directional":
    ambient = (1 + outputs[:, 0:1]) / 2
    diffuse = config.scene.diffuse_min + (1 - config.scene.diffuse_min) * (1 + outputs[:, 1:2]) / 2
    direction = jnp.concatenate([outputs[:, 2:4], jnp.ones_like(outputs[:, :1])], axis=-1)
    return jnp.concatenate([ambient, diffuse, safe_ops.normalize(direction)], axis=-1)
  if config.scene.light == "sh_rgb":
    outputs = outputs.reshape(-1, 9, 3)
  ambient = AMBIENT_UNIT * (1 + outputs[:, 0:1]) / 2
  band1 = BAND1_UNIT * jnp.concatenate([outputs[:, 1:2], (1 + outputs[:, 2:3]) / 2, outputs[:, 3:4]], axis=1)
  return jnp.concatenate([ambient, band1, BAND2_UNIT * outputs[:, 4:9]], axis=1)


def shading(
  light: Float[ArrayLike, "B ..."], normals: Float[ArrayLike, "B H W 3"]
) -> Float[Array, "B H W ..."]:
  """Lambertian shading of a light; `[B,H,W]`, or `[B,H,W,3]` for a coloured one."""
  if light.shape[1:] == (5,):
    return lighting.directional_shading(light[:, 0], light[:, 1], light[:, 2:5], normals)
  return lighting.sh_shading(light, normals)


def as_sh(light: Float[ArrayLike, "B ..."]) -> Float[ArrayLike, "B 9 ..."]:
  """The light as spherical-harmonic coefficients.

  A directional one is projected, exact up to the order-2 truncation.
  """
  if light.shape[1:] == (5,):
    return lighting.directional_to_sh(light[:, 0], light[:, 1], light[:, 2:5])
  return light


def from_above(light: Float[ArrayLike, "B ..."]) -> Float[Array, " B"]:
  """How much of the light comes from above, in units of shading.

  1 is one source of unit strength from straight above; negative from below.
  """
  return light_metrics.band1(as_sh(light))[:, 1] / BAND1_UNIT


def perturb(
  light: Float[ArrayLike, "B ..."], draw: dict[str, Float[ArrayLike, "B ..."]], config: ConfigDict
) -> Float[Array, "B ..."]:
  """Another light near this one (specification, section 6).

  Args:
    light: a light, as `from_outputs` returns it.
    draw: `ambient`, `diffuse` `[B]` offsets in units of shading, `angle` `[B]` radians, `axis` `[B,3]` unit,
      `offset` `[B,3]` (`raw`).

  `bounded`: ambient and diffuse are moved and clamped to their ranges, the direction turned by `angle` about
  `axis`. For spherical harmonics the diffuse strength is the scale of bands 1 and 2, clamped at zero, and
  those bands are turned. `raw` (released code, directional only): plain offsets.
  """
  if light.shape[1:] == (5,):
    ambient, diffuse, direction = light[:, 0] + draw["ambient"], light[:, 1] + draw["diffuse"], light[:, 2:5]
    if config.loocc.perturbation == "raw":
      direction = direction + draw["offset"]
    else:
      ambient, diffuse = jnp.clip(ambient, 0.0, 1.0), jnp.clip(diffuse, config.scene.diffuse_min, 1.0)
      rotation = camera.axis_angle_matrix(draw["axis"], draw["angle"])
      direction = jnp.einsum("bij,bj->bi", rotation, direction, precision=jax.lax.Precision.HIGHEST)
    return jnp.concatenate([ambient[:, None], diffuse[:, None], direction], axis=-1)
  trailing = (1,) * (light.ndim - 2)
  ambient = light[:, :1] + AMBIENT_UNIT * draw["ambient"].reshape(-1, 1, *trailing)
  scale = jnp.maximum(1 + draw["diffuse"], 0.0).reshape(-1, 1, *trailing)
  moved = jnp.concatenate([jnp.clip(ambient, 0.0, AMBIENT_UNIT), light[:, 1:] * scale], axis=1)
  return lighting.rotate_sh(moved, camera.axis_angle_matrix(draw["axis"], draw["angle"]))
