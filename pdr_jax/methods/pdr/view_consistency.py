"""View consistency: the view network reads back the view of pictures that the model has rendered itself.

A picture alone does not tell a deep relief that turns little from a shallow one that turns much (the
bas-relief ambiguity, Belhumeur, Kriegman, Yuille 1999), nor a small turn from a small shift, and a network
that explains each picture by itself can paint a turned face narrower instead of turning it. Here each scene
is rendered at a view that has nothing to do with its shape, and the view network is taught that view. What
turning looks like is then learned from turns that are known exactly. SSV has such a term for its generator
(Mustikovela et al. 2020, "viewpoint consistency").
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
LEVER = 0.05  # model units between the face and the point that it turns about


def draw(rng: Array, index: Int[ArrayLike, " B"], config: ConfigDict) -> Float[Array, "B 6"]:
  """Views for the images with these indices in the global batch: radians and model units.

  They are normal with the deviations `view_consistency.rotation` and `.translation`, and clamped to the range
  of views. Each image has its own stream, so that the draw does not depend on how the batch is spread over
  devices.
  """
  options = config.view_consistency
  spread = np.array([*np.deg2rad(options.rotation), *[options.translation] * 3], np.float32)
  stream = jax.random.fold_in(rng, STREAM)
  normal = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(stream, i), (6,)))(index)
  limit = scenes.view_range(config)[None]
  return jnp.clip(normal * spread[None], -limit, limit)


def picture(
  scene: Scene, views: Float[ArrayLike, "B 6"], images: Float[ArrayLike, "B S S 3"], config: ConfigDict
) -> Float[Array, "B S S 3"]:
  """The scenes at these views, without gradient; where no surface is seen stand the images."""
  rendering = scenes.render(jax.lax.stop_gradient(scene)._replace(view=views), config)
  mask = rendering.mask[..., None]
  return jax.lax.stop_gradient(jnp.clip(rendering.image, -1, 1) * mask + images * (1 - mask))


def loss(
  view_of: Callable[[Array], Array],
  scene: Scene,
  views: Float[ArrayLike, "B 6"],
  images: Float[ArrayLike, "B S S 3"],
  config: ConfigDict,
) -> Float[Array, " B"]:
  """Sum of the absolute errors of the views that `view_of` (images to views `[B,6]`) reads, in radians.

  A shift counts as much as the turn that moves the face as far. The gradient reaches the view network alone.
  """
  error = jnp.abs(view_of(picture(scene, views, images, config)) - views)
  return jnp.sum(error[:, :3], axis=1) + jnp.sum(error[:, 3:], axis=1) / LEVER
