"""Landmarks of the sculpted heads: where they are seen, and how deep.

They are found from the keys `weights` and `view` of a batch.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pdr_jax.data.scenes import people_mesh
from pdr_jax.data.scenes.head_mesh import ShapeModel
from pdr_jax.data.scenes.render_scene import FIELD_OF_VIEW
from pdr_jax.render import camera

_SIDES = {
  "eye": (0.285, 0.01, 0.7),
  "brow": (0.28, 0.2, 0.75),
  "cheek": (0.3, -0.3, 0.7),
  "nostril": (0.12, -0.38, 0.85),
  "mouth_corner": (0.22, -0.58, 0.75),
  "jaw": (0.45, -0.6, 0.5),
}
_MIDDLE = {
  "forehead": (0, 0.4, 0.87),
  "nose_bridge": (0, -0.05, 0.85),
  "nose_tip": (0, -0.36, 1.0),
  "upper_lip": (0, -0.5, 0.88),
  "lower_lip": (0, -0.65, 0.85),
  "chin": (0, -0.9, 0.8),
}
# Sculpting coordinates; a landmark is the nearest vertex of the skin. Left and right are the picture's.
PLACES = (
  _MIDDLE
  | {f"{name}_left": (-x, y, z) for name, (x, y, z) in _SIDES.items()}
  | {f"{name}_right": place for name, place in _SIDES.items()}
)


def vertices(model: ShapeModel) -> np.ndarray:
  """Numbers of the landmarks' vertices in a shape model of a head."""
  skin = np.unique(model.faces if model.material is None else model.faces[model.material == people_mesh.HEAD])
  distances = np.square(model.coords[skin][:, None] - np.array(list(PLACES.values()))).sum(axis=-1)
  return skin[distances.argmin(axis=0)]


def locate(
  model: ShapeModel,
  weights: Float[Array | np.ndarray, "B M"],
  view: Float[Array | np.ndarray, "B 6"],
  side: int,
) -> Float[Array, "B L 3"]:
  """Column u, row v (pixels) and depth z (model units) of every landmark in `PLACES` at the view.

  Hidden ones count too.
  """
  chosen = vertices(model)
  shift = jnp.einsum("bm,mlc->blc", weights, jnp.asarray(model.modes[:, chosen]), precision="highest")
  points = camera.apply_view(jnp.asarray(model.vertices[chosen])[None] + shift, view)
  return camera.project(points, camera.pinhole(side, FIELD_OF_VIEW))
