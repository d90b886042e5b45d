"""The faces of Isomap (Tenenbaum, de Silva, Langford 2000): one rendered head in many poses and lights."""

import os

import numpy as np

from pdr_jax.data import folder_sets
from pdr_jax.errors import UserError

FILE = "isomap_faces.npz"
KEYS = ("images", "pan", "tilt", "light")


def read(path: str) -> folder_sets.Layout:
  """698 pictures, 32 x 32 grey, with `pan`, `tilt` and `light`.

  They have no unit: each has mean 0 and deviation 1, as in the source; degrees are not published. The signs
  are those of CONVENTIONS.md, so pan and light have the other one than in the file: pan > 0 shows the nose to
  the left of the picture, tilt > 0 further down, light > 0 comes from the left.
  """
  file = os.path.join(path, FILE)
  with np.load(file, allow_pickle=False) as arrays:
    if missing := [key for key in KEYS if key not in arrays]:
      raise UserError(f"{file} has no array {missing[0]}: it has {', '.join(arrays)}")
    images, pan, tilt, light = (arrays[key] for key in KEYS)
  if images.ndim != 3 or images.dtype != np.uint8 or not len(images) == len(pan) == len(tilt) == len(light):
    raise UserError(f"{file}: images must be [N, h, w] uint8, and pan, tilt and light have a number for each")
  numbers = {"pan": -pan, "tilt": tilt, "light": -light}
  store = folder_sets.Pixels(file, {f"{i:03d}.pgm": image for i, image in enumerate(images)})
  return folder_sets.Layout(store, {name: folder_sets.numbers_of(value) for name, value in numbers.items()})


SOURCE = folder_sets.source(
  "one rendered head in many poses and lights",
  read,
  f"a folder with {FILE} (images [698, 32, 32] uint8, pan, tilt, light), made of gen_sim_data/face_1024.mat "
  "of https://github.com/chunchentu/smogllim",
)
