"""Pictures' own texture, which stands in for the model's albedo where a scene is rendered again.

The model's albedo is blurred for long: what a network learns of renderings of it does not hold for pictures.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.methods.pdr import scene as scenes
from pdr_jax.methods.pdr.scene import Scene
from pdr_jax.render import camera as cameras
from pdr_jax.render import unwrap

SMALLEST_SHADING = 0.25  # of what is unwrapped: light is wrong at first, and dark places hold mostly noise


def own(
  images: Float[ArrayLike, "B S S 3"], scene: Scene, seen_depth: Float[ArrayLike, "B S S"], config: ConfigDict
) -> Scene:
  """The scenes with the images' own texture in [-1, 1] as their albedo; without gradient.

  Each image is unwrapped by its own scene, its light is taken out, and what it does not show comes from its
  mirror image (`render.unwrap`).

  Args:
    scene: what the model finds in the images.
    seen_depth: depth maps of the scenes at their own views, model units; background beyond the surface.
  """
  images, scene, seen_depth = jax.lax.stop_gradient((images, scene, seen_depth))
  side, span = config.data.side, config.scene.max_depth - config.scene.min_depth
  where = unwrap.correspondences(scene.depth, scene.view, cameras.pinhole(side, config.scene.fov), side)
  visible = unwrap.visibility(where, seen_depth, span)
  _, shading, _ = scenes.shade(scene, config)
  reflectance = unwrap.reflectance(
    unwrap.texture(images, where, side), shading, smallest_shading=SMALLEST_SHADING
  )
  return scene._replace(albedo=2 * unwrap.complete(reflectance, visible, scene.albedo, average=False) - 1)


def before_rim(
  picture: Float[ArrayLike, "B S S 3"], mask: Float[ArrayLike, "B S S"], images: Float[ArrayLike, "B S S 3"]
) -> Float[Array, "B S S 3"]:
  """A rendering before the mean colour of its image's rim.

  On the image itself the object would stand in front of itself at its own view, which teaches less.
  """
  mask = mask[..., None]
  return picture * mask + rim_colour(images) * (1 - mask)


def rim_colour(images: Float[ArrayLike, "B S S 3"]) -> Float[Array, "B 1 1 3"]:
  """The mean colour of the uppermost row and of the two outermost columns, where backgrounds mostly are."""
  rim = jnp.concatenate([images[:, 0], images[:, :, 0], images[:, :, -1]], axis=1)
  return rim.mean(axis=1)[:, None, None]
