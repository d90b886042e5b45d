"""The scene of PDR: from the networks' outputs to a canonical scene, and to an image at a view
(specification, sections 2 to 4).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.methods.contract import Camera
from pdr_jax.methods.pdr import light as light_model
from pdr_jax.render import camera as cameras
from pdr_jax.render import depth_mesh, lighting, reproject

DOME_ASPECT = 3.0


class Scene(NamedTuple):
  """A canonical scene.

  It has depth `[B,S,S]`, albedo `[B,S,S,3]` in [-1,1], light (see `light.py`) and view `[B,6]`.
  """

  depth: Float[Array, "B S S"]
  albedo: Float[Array, "B S S 3"]
  light: Float[Array, "B ..."]
  view: Float[Array, "B 6"]


class Rendering(NamedTuple):
  """A scene in the canonical frame and at the view.

  `normals`, `shading` and `canonical` image are in the canonical frame. `image`, `mask` (no gradient) and
  `depth` are at the view.
  """

  normals: Float[Array, "B S S 3"]
  shading: Float[Array, "B S S ..."]
  canonical: Float[Array, "B S S 3"]
  image: Float[Array, "B S S 3"]
  mask: Float[Array, "B S S"]
  depth: Float[Array, "B S S"]


def camera(config: ConfigDict) -> Camera:
  """The camera of all depth maps of a configuration."""
  return Camera(config.scene.fov, config.scene.min_depth, config.scene.max_depth)


def convex_start(side: int, height: float) -> np.ndarray:
  """The dome added to the raw depth, `[S,S]`: `-height` at the centre, rising with the squared radius to zero
  at the sides of the picture.

  Without it, training may fall into the hollow face: relief and light reversed together explain a picture as
  well (section 11). It is an ellipse, `DOME_ASPECT` times as tall as wide: a face in a crop bends away to its
  ears, but hardly to forehead and chin. From a round one, networks learn foreheads that stick out and chins
  that recede.
  """
  axis = np.linspace(-1, 1, side, dtype=np.float32)
  return -height * np.maximum(0, 1 - (axis[:, None] / DOME_ASPECT) ** 2 - axis[None, :] ** 2)


def level(raw: Float[ArrayLike, "B S S"]) -> Float[Array, "B S S"]:
  """Takes away the slope from top to bottom of the middle quarter of the columns.

  The slope is a least-squares fit over the rows. A tilted surface under a view of the opposite pitch is the
  same picture, and nothing but a slow view network says which pitch is the canonical one (from left to right,
  symmetry says it): without this, some runs keep a face that leans back and light that makes up for it.
  """
  side = raw.shape[-1]
  rows = np.linspace(-1, 1, side, dtype=np.float32)
  slope = jnp.mean(raw[:, :, side * 3 // 8 : side - side * 3 // 8], axis=2) @ (rows / np.sum(rows**2))
  return raw - slope[:, None, None] * rows[None, :, None]


def bound_depth(raw: Float[ArrayLike, "B S S"], config: ConfigDict) -> Float[Array, "B S S"]:
  """Raw depth maps to depths in (`min_depth`, `max_depth`), before the border clamp."""
  scene = config.scene
  raw = raw + convex_start(raw.shape[-1], scene.convex_start)[None]
  raw = level(raw) if scene.level else raw
  bounded = jnp.tanh(raw - raw.mean(axis=(1, 2), keepdims=True))
  return (1 + bounded) / 2 * scene.max_depth + (1 - bounded) / 2 * scene.min_depth


def clamp_border(depth: Float[ArrayLike, "B S S"], config: ConfigDict) -> Float[Array, "B S S"]:
  """Sets the two leftmost and two rightmost columns to `border_depth`, so that the mesh has a rim to hide."""
  column = np.arange(depth.shape[-1])
  border = (column < 2) | (column >= depth.shape[-1] - 2)
  return jnp.where(border[None, None, :], config.scene.border_depth, depth)


def view_range(config: ConfigDict) -> np.ndarray:
  """The largest absolute value of each of the view's six numbers (radians, model units). `[6]`."""
  scene = config.scene
  return np.array(
    [np.deg2rad(scene.rotation_range)] * 3 + [scene.translation_xy] * 2 + [scene.translation_z], np.float32
  )


def mirrored(scene: Scene) -> Scene:
  """The scene followed by its mirror image: `[2B, ...]`; depth and albedo are flipped left to right, light
  and view are the same.
  """
  def doubled(x, flip):
    return jnp.concatenate([x, jnp.flip(x, axis=2) if flip else x], axis=0)

  return Scene(
    doubled(scene.depth, True),
    doubled(scene.albedo, True),
    doubled(scene.light, False),
    doubled(scene.view, False),
  )


def shade(scene: Scene, config: ConfigDict) -> tuple[Array, Array, Array]:
  """Normals, shading and the canonical image."""
  normals = depth_mesh.normals(scene.depth, cameras.pinhole(scene.depth.shape[-1], config.scene.fov))
  shading = light_model.shading(scene.light, normals)
  return normals, shading, lighting.shade(scene.albedo, shading)


def at_view(
  depth: ArrayLike, canonical: ArrayLike, view: ArrayLike, config: ConfigDict
) -> tuple[Array, Array, Array]:
  """Image, mask and depth at the view of a canonical picture on its depth.

  The mask, where a surface was seen, carries no gradient.
  """
  pinhole = cameras.pinhole(depth.shape[-1], config.scene.fov)
  margin = (config.scene.max_depth - config.scene.min_depth) / 2
  near, far = config.scene.min_depth - margin, config.scene.max_depth + margin
  seen_depth = reproject.depth_at_view(depth, view, pinhole, near=near, far=far)
  mask = (seen_depth < far).astype(jnp.float32)
  image = reproject.warp_to_view(canonical, seen_depth, view, pinhole)
  return image, mask, seen_depth


def render(scene: Scene, config: ConfigDict) -> Rendering:
  """Renders a scene at its view."""
  normals, shading, canonical = shade(scene, config)
  image, mask, depth = at_view(scene.depth, canonical, scene.view, config)
  return Rendering(normals, shading, canonical, image, mask, depth)
