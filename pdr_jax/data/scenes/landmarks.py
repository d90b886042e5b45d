"""Landmarks of the sculpted heads: where they are seen, and how deep.

They are found from the keys `weights` and `view` of a batch.
"""

import math
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pdr_jax.data.scenes import people_mesh
from pdr_jax.data.scenes.head_mesh import ShapeModel
from pdr_jax.data.scenes.render_scene import FIELD_OF_VIEW
from pdr_jax.files import write_atomically
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


# ---------------------------------------------------------------- the key `canonical_landmarks`

# The nose tip, then what should lie behind it.
CANONICAL = (
  "nose_tip", "eye_left", "eye_right", "cheek_left", "cheek_right", "mouth_corner_left", "mouth_corner_right",
)


class Basis(NamedTuple):
  """The part of a shape model that moves the landmarks of `CANONICAL`.

  Attributes:
    vertices: of the mean head, in the canonical frame.
    modes: what each weight adds.
  """

  vertices: Float[np.ndarray, "L 3"]
  modes: Float[np.ndarray, "M L 3"]


def basis(model: ShapeModel) -> Basis:
  """That of a shape model of a head."""
  names = list(PLACES)
  chosen = vertices(model)[[names.index(name) for name in CANONICAL]]
  return Basis(np.asarray(model.vertices[chosen], np.float32), np.asarray(model.modes[:, chosen], np.float32))


def stored_basis(path: str, model: Callable[[], ShapeModel]) -> Basis:
  """The basis in a file, which is written first where it is missing.

  Sculpting a head takes seconds, and a prepared copy of a world needs none of it.
  """
  try:
    with np.load(path, allow_pickle=False) as file:
      return Basis(file["vertices"], file["modes"])
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
    made = basis(model())
  try:
    write_atomically(path, lambda file: np.savez(file, **made._asdict()))
  except OSError:  # a copy that may only be read
    pass
  return made


def canonical(
  basis: Basis, weights: Float[np.ndarray, "B M"], side: int
) -> Float[np.ndarray, "B L 3"]:
  """`locate` at the zero view for the landmarks of `CANONICAL`, by NumPy alone."""
  points = basis.vertices + np.einsum("bm,mlc->blc", weights, basis.modes, dtype=np.float64)
  middle = (side - 1) / 2
  focal = middle / math.tan(math.radians(FIELD_OF_VIEW) / 2)
  uv = focal * points[..., :2] / points[..., 2:] + middle
  return np.concatenate([uv, points[..., 2:]], axis=-1).astype(np.float32)
