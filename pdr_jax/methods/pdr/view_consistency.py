"""View consistency: the view network reads back the view of pictures that the model has rendered itself.

A picture alone does not tell a deep relief that turns little from a shallow one that turns much (the
bas-relief ambiguity, Belhumeur, Kriegman, Yuille 1999), and a network that explains each picture by itself
can paint a turned face narrower instead of turning it. Here each scene is turned by angles that have nothing
to do with its shape, and the view network is taught these angles. What turning looks like is then learned
from turns that are known exactly. SSV has such a term for its generator (Mustikovela et al. 2020, "viewpoint
consistency").
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int
from ml_collections import ConfigDict

from pdr_jax.methods.pdr import scene as scenes
from pdr_jax.methods.pdr.scene import Scene

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


def picture(
  scene: Scene, angles: Float[ArrayLike, "B 3"], images: Float[ArrayLike, "B S S 3"], config: ConfigDict
) -> Float[Array, "B S S 3"]:
  """The scenes turned by these angles, without gradient; where no surface is seen stand the images."""
  scene = jax.lax.stop_gradient(scene)
  view = jnp.concatenate([angles, scene.view[:, 3:]], axis=1)
  rendering = scenes.render(scene._replace(view=view), config)
  mask = rendering.mask[..., None]
  return jax.lax.stop_gradient(jnp.clip(rendering.image, -1, 1) * mask + images * (1 - mask))


def loss(
  view_of: Callable[[Array], Array],
  scene: Scene,
  angles: Float[ArrayLike, "B 3"],
  images: Float[ArrayLike, "B S S 3"],
  config: ConfigDict,
) -> Float[Array, " B"]:
  """Sum of the absolute errors (radians) of the angles that `view_of` (images to views `[B,6]`) reads.

  The gradient reaches the view network alone.
  """
  seen = view_of(picture(scene, angles, images, config))
  return jnp.sum(jnp.abs(seen[:, :3] - angles), axis=1)
