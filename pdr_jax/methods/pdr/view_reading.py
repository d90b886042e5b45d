"""The view of a picture, read several times over.

One reading is off by some degrees, and turns too little. What it has missed can be seen: turned back by it, a
picture looks to the side it still has to turn. Each further reading is of the picture turned back by the last
one (analysis by synthesis), and their mean is the view. The mirror image of a symmetric object has the
mirrored view, so where the loss asks for symmetry (`loss.flip`) each reading is the mean of both.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.methods.pdr import scene as scenes
from pdr_jax.render import camera as cameras
from pdr_jax.render import unwrap

MIRRORED = np.array([1.0, -1.0, -1.0, -1.0, 1.0, 1.0], np.float32)  # a mirror's signs of a view's numbers
ROTATIONS = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0], np.float32)


def mean_of_readings(
  view_of: Callable[[Array], Array],
  images: Float[ArrayLike, "B S S 3"],
  depth: Float[ArrayLike, "B S S"],
  config: ConfigDict,
) -> Float[Array, "B 6"]:
  """The mean of `scene.view_readings` readings: radians and model units; further ones are kept in range.

  What further readings say of the translation is left out: a canonical picture has none. Angles are added,
  which is exact for small ones: at a pitch of 20 degrees, 5 more of yaw are 4.7 of yaw and 1.7 of roll.

  Args:
    view_of: pictures to views `[B,6]`.
    depth: canonical depth, by which pictures are turned back, model units.
  """
  limit, camera = scenes.view_range(config)[None], cameras.pinhole(images.shape[1], config.scene.fov)

  def read(pictures):
    if not config.loss.flip:
      return view_of(pictures)
    return (view_of(pictures) + view_of(pictures[:, :, ::-1]) * MIRRORED[None]) / 2

  views = [read(images)]
  while len(views) < config.scene.view_readings:
    where = unwrap.correspondences(depth, views[-1], camera, images.shape[1])
    left = read(unwrap.texture(images, where, images.shape[1]))
    views.append(jnp.clip(views[-1] + left * ROTATIONS[None], -limit, limit))
  return sum(views) / len(views)
