"""View consistency: the view network reads back the view of pictures that the model has turned itself.

A picture alone does not tell a deep relief that turns little from a shallow one that turns much (the
bas-relief ambiguity, Belhumeur, Kriegman, Yuille 1999), and a network that explains each picture by itself
can paint a turned face narrower instead of turning it. Here each picture is turned by angles that have
nothing to do with its shape, lit as the next picture of the batch is, and the view network is taught these
angles. What turning looks like is then learned from turns that are known exactly. SSV has such a term for its
generator (Mustikovela et al. 2020, "viewpoint consistency").

What is turned is the picture's own texture and not the model's albedo, which is blurred for long: a network
that knows turns of blurred faces misses those of sharp ones. A picture whose view is still wrong is turned to
a wrong angle, but such errors are unrelated to the angles that are drawn, and shrink with each round: where
the network reads a share k of all turns, it is taught a share of s / (s + (1 - k)^2 t), for variances s of
the angles that are drawn and t of those in the data.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int
from ml_collections import ConfigDict

from pdr_jax.methods.pdr import scene as scenes
from pdr_jax.methods.pdr.scene import Scene
from pdr_jax.methods.shared import gradient_step
from pdr_jax.render import camera as cameras
from pdr_jax.render import unwrap

SMALLEST_SHADING = 0.25  # of what is turned: light is wrong at first, and dark places hold little but noise
STREAM = np.iinfo(np.int32).max - 1  # of a step's randomness: no image of a batch has this number


def draw(rng: Array, index: Int[ArrayLike, " B"], config: ConfigDict) -> Float[Array, "B 3"]:
  """Pitch, yaw and roll (radians) for the images with these indices in the global batch.

  They are normal with the deviations `view_consistency.spread`, and clamped to the range of views. Each image
  has its own stream, so that the draw does not depend on how the batch is spread over devices.
  """
  spread = np.deg2rad(np.array(config.view_consistency.spread, np.float32))
  stream = jax.random.fold_in(rng, STREAM)
  normal = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(stream, i), (3,)))(index)
  limit = scenes.view_range(config)[None, :3]
  return jnp.clip(normal * spread[None], -limit, limit)


def rim_colour(images: Float[ArrayLike, "B S S 3"]) -> Float[Array, "B 1 1 3"]:
  """The mean colour of the uppermost row and of the two outermost columns, where backgrounds mostly are."""
  rim = jnp.concatenate([images[:, 0], images[:, :, 0], images[:, :, -1]], axis=1)
  return rim.mean(axis=1)[:, None, None]


def of_the_next(values: Float[ArrayLike, "B ..."], axis_name: str | None) -> Float[Array, "B ..."]:
  """Each image gets the value of the next image of the global batch, the last one that of the first."""
  everyone = values if axis_name is None else jax.lax.all_gather(values, axis_name, tiled=True)
  index = gradient_step.global_index(values.shape[0], axis_name)
  return everyone[(index + 1) % everyone.shape[0]]


def turned(
  images: Float[ArrayLike, "B S S 3"],
  scene: Scene,
  seen_depth: Float[ArrayLike, "B S S"],
  angles: Float[ArrayLike, "B 3"],
  config: ConfigDict,
  axis_name: str | None = None,
) -> Float[Array, "B S S 3"]:
  """The images themselves at these angles, lit as the next image of the batch is; without gradient.

  Each image is unwrapped by its own scene, its light is taken out, and what it does not show comes from its
  mirror image (`render.unwrap`). Around the object is the mean colour of the image's rim: on the image it
  would stand in front of itself at its own view, which teaches less.

  Args:
    scene: what the model finds in the images.
    seen_depth: depth maps of the scenes at their own views, model units; background beyond the surface.
  """
  images, scene, seen_depth = jax.lax.stop_gradient((images, scene, seen_depth))
  side, span = config.data.side, config.scene.max_depth - config.scene.min_depth
  where = unwrap.correspondences(scene.depth, scene.view, cameras.pinhole(side, config.scene.fov), side)
  visible = unwrap.visibility(where, seen_depth, span)
  _, own, _ = scenes.shade(scene, config)
  reflectance = unwrap.reflectance(
    unwrap.texture(images, where, side), own, smallest_shading=SMALLEST_SHADING
  )
  albedo = 2 * unwrap.complete(reflectance, visible, scene.albedo, average=False) - 1
  lit = Scene(scene.depth, albedo, of_the_next(scene.light, axis_name), scene.view)
  _, _, canonical = scenes.shade(lit, config)
  view = jnp.concatenate([angles, scene.view[:, 3:]], axis=1)
  picture, mask, _ = scenes.at_view(scene.depth, jnp.clip(canonical, -1, 1), view, config)
  mask = mask[..., None]
  return picture * mask + rim_colour(images) * (1 - mask)


def loss(
  view_of: Callable[[Array], Array], pictures: Float[ArrayLike, "B S S 3"], angles: Float[ArrayLike, "B 3"]
) -> Float[Array, " B"]:
  """Sum of the absolute errors (radians) of the angles that `view_of` (images to views `[B,6]`) reads."""
  return jnp.sum(jnp.abs(view_of(pictures)[:, :3] - angles), axis=1)
