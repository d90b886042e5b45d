"""View consistency: the view network reads back the view of pictures that the model has rendered itself.

A picture alone does not tell a deep relief that turns little from a shallow one that turns much (the
bas-relief ambiguity, Belhumeur, Kriegman, Yuille 1999), and a network that explains each picture by itself
can paint a turned face narrower instead of turning it. Here each scene is turned by angles that have nothing
to do with its shape, lit as the next picture of the batch is, and the view network is taught these angles.
What turning looks like is then learned from turns that are known exactly. SSV has such a term for its
generator (Mustikovela et al. 2020, "viewpoint consistency").
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


def picture(
  scene: Scene, angles: Float[ArrayLike, "B 3"], images: Float[ArrayLike, "B S S 3"], config: ConfigDict
) -> Float[Array, "B S S 3"]:
  """The scenes turned by these angles, without gradient, on the mean colour of each image's rim.

  On the image itself they would teach less: there the object stands at its own view, behind the turned one.
  """
  scene = jax.lax.stop_gradient(scene)
  view = jnp.concatenate([angles, scene.view[:, 3:]], axis=1)
  rendering = scenes.render(scene._replace(view=view), config)
  mask = rendering.mask[..., None]
  return jax.lax.stop_gradient(jnp.clip(rendering.image, -1, 1) * mask + rim_colour(images) * (1 - mask))


def loss(
  view_of: Callable[[Array], Array],
  scene: Scene,
  angles: Float[ArrayLike, "B 3"],
  images: Float[ArrayLike, "B S S 3"],
  config: ConfigDict,
  axis_name: str | None = None,
) -> Float[Array, " B"]:
  """Sum of the absolute errors (radians) of the angles that `view_of` (images to views `[B,6]`) reads.

  The gradient reaches the view network alone.
  """
  lit = scene._replace(light=of_the_next(scene.light, axis_name))
  seen = view_of(picture(lit, angles, images, config))
  return jnp.sum(jnp.abs(seen[:, :3] - angles), axis=1)
