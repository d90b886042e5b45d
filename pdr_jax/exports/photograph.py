"""A photograph in the canonical frame of a decomposition, at its own resolution: de-lit, relit, turned.

The model's maps have its side S, the photograph has N pixels on a side, of the same square. Depth, normals
and shading are the model's, enlarged; colours are those of the photograph (`render.unwrap`).
"""

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pdr_jax.render import camera as cameras
from pdr_jax.render import lighting, reproject, safe_ops, unwrap

BELOW_WHITE = 0.98  # of the pixels that are seen
CAMERA = ("fov", "near", "far")  # degrees, model units
SCENE = ("depth", "view", "shading", "albedo", "normal")  # parts of a decomposition that are read


class Maps(NamedTuple):
  """Canonical maps of one photograph, each with a leading axis of one.

  Attributes:
    texture: the photograph in canonical pose, in its own light, [-1, 1]; what it does not show is arbitrary.
    albedo: without light, -1 is black, 1 white, and up to 3 where the light is underestimated; what is not
      seen comes from the mirror half, then from the model's albedo.
    depth: model units.
    normal: unit vectors that point into the scene.
    shading: of the photograph's light; `[1, N, N, 3]` of a coloured one.
    visibility: 0 to 1.
  """

  texture: Float[np.ndarray, "1 N N C"]
  albedo: Float[np.ndarray, "1 N N C"]
  depth: Float[np.ndarray, "1 N N"]
  normal: Float[np.ndarray, "1 N N 3"]
  shading: Float[np.ndarray, "1 N N ..."]
  visibility: Float[np.ndarray, "1 N N"]


def unwrapped(
  photograph: Float[np.ndarray, "N N C"], parts: Mapping[str, np.ndarray], camera: Mapping[str, float]
) -> Maps:
  """The canonical maps of a photograph.

  Args:
    photograph: in [-1, 1], at least as large as the model's maps.
    parts: `depth`, `view`, `shading`, `albedo` and `normal` of a model, for a batch of one.
    camera: `fov` in degrees, `near` and `far` in model units.
  """
  scene = {name: jnp.asarray(parts[name]) for name in SCENE}
  maps = _unwrapped(jnp.asarray(photograph)[None], scene, **{key: float(camera[key]) for key in CAMERA})
  return Maps(*map(np.asarray, maps))


@functools.partial(jax.jit, static_argnames=CAMERA)
def _unwrapped(
  photograph: Array, parts: Mapping[str, Array], *, fov: float, near: float, far: float
) -> Maps:
  side = photograph.shape[1]
  picture = unwrap.normalize_decomposed(
    photograph, parts, fov=fov, near=near, far=far, side=side, average=False
  )
  return Maps(
    picture.texture,
    picture.completed * 2 - 1,
    unwrap.enlarge(parts["depth"], side),
    safe_ops.normalize(unwrap.enlarge(parts["normal"], side)),
    jnp.maximum(unwrap.enlarge(parts["shading"], side), 0.0),
    picture.visibility,
  )


def white_of(maps: Maps) -> float:
  """The reflectance that is shown as white: all but the brightest that is seen is below it. At least 1."""
  brightest = maps.albedo.max(axis=-1)[maps.visibility > 0] / 2 + 0.5
  return max(1.0, float(np.quantile(brightest, BELOW_WHITE))) if brightest.size else 1.0


def lit(maps: Maps, lights: Float[np.ndarray, "F 9 ..."] | None = None) -> Float[np.ndarray, "F N N C"]:
  """The canonical picture under each of the lights (spherical harmonics); None: under its own."""
  if lights is None:
    return np.asarray(lighting.shade(maps.albedo, maps.shading))
  shading = lighting.sh_shading(lights, maps.normal)
  if maps.albedo.shape[-1] == 1 and shading.ndim == 4:
    shading = shading.mean(axis=-1)
  return np.asarray(lighting.shade(maps.albedo, shading))


def reduced(maps: Maps, side: int) -> Maps:
  """The maps at a smaller side; as they are where they are no larger."""
  if maps.depth.shape[-1] <= side:
    return maps

  def resize(values: np.ndarray) -> np.ndarray:
    shape = (values.shape[0], side, side, *values.shape[3:])
    return np.asarray(jax.image.resize(values, shape, "linear"))  # antialiased

  small = Maps(*map(resize, maps))
  return small._replace(normal=np.asarray(safe_ops.normalize(small.normal)))


def seen(
  pictures: Float[np.ndarray, "F N N C"], depth: Float[np.ndarray, "1 N N"], views: Float[np.ndarray, "V 6"],
  camera: Mapping[str, float], model_side: int,
) -> Iterator[tuple[Float[np.ndarray, "N N C"], Float[np.ndarray, "N N"]]]:
  """Canonical pictures on their depth at each view, and where there is a surface: F or V may be 1."""
  lens = {"model_side": model_side, "fov": float(camera["fov"])}
  bounds = {"near": float(camera["near"]), "far": float(camera["far"])}
  for k in range(max(len(pictures), len(views))):
    picture, view = (values[min(k, len(values) - 1)][None] for values in (pictures, views))
    if k == 0 or len(views) > 1:
      surface = _depth_at_view(depth, view, **lens, **bounds)
    image = _warped(picture, surface, view, **lens)
    yield np.asarray(image)[0], np.asarray(surface)[0] < _background(**bounds)


def _background(near: float, far: float) -> float:
  """The depth of where no surface is seen: half of the range beyond its far end, model units."""
  return far + (far - near) / 2


@functools.partial(jax.jit, static_argnames=("model_side", *CAMERA))
def _depth_at_view(
  depth: Array, view: Array, *, model_side: int, fov: float, near: float, far: float
) -> Array:
  lens = unwrap.resized_camera(cameras.pinhole(model_side, fov), model_side, depth.shape[-1])
  nearest = near - (far - near) / 2
  return reproject.depth_at_view(depth, view, lens, near=nearest, far=_background(near, far))


@functools.partial(jax.jit, static_argnames=("model_side", "fov"))
def _warped(picture: Array, surface: Array, view: Array, *, model_side: int, fov: float) -> Array:
  lens = unwrap.resized_camera(cameras.pinhole(model_side, fov), model_side, surface.shape[-1])
  return reproject.warp_to_view(picture, surface, view, lens)
