"""The cropped Extended Yale B: faces under light from known directions."""

import re

import numpy as np

from pdr_jax.data import folder_sets, image_folder


def read(path: str) -> folder_sets.Layout:
  """Reads `yaleB01/yaleB01_P00A+000E+00.pgm`: `subject`, `light_azimuth_deg` and `light_elevation_deg`.

  `_Ambient` and `.bad` files are left out.
  """
  pattern = re.compile(r"yaleB(\d+)_P00A([+-]\d+)E([+-]\d+)\.(?:pgm|png)$")
  store = folder_sets.Some(image_folder.open_store(path), lambda name: bool(pattern.search(name)))
  numbers = np.array([[int(part) for part in pattern.search(name).groups()] for name in store.names]).reshape(
    -1, 3
  )
  subject, azimuth, elevation = numbers.T
  angles = {"light_azimuth_deg": azimuth, "light_elevation_deg": elevation}
  columns = {name: folder_sets.numbers_of(values) for name, values in angles.items()}
  return folder_sets.Layout(store, {"subject": folder_sets.classes_of(subject)} | columns)


SOURCE = folder_sets.source(
  "faces of the Extended Yale B under known light",
  read,
  "the folder CroppedYale with yaleB01/ to yaleB39/, or a zip of its files yaleB01_P00A+000E+00.pgm",
)
