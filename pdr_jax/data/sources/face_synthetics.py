"""FaceSynthetics: rendered faces with maps of 19 parts."""

import numpy as np
from PIL import Image

from pdr_jax.data import folder_sets, image_folder

FACE_PARTS = (
  "background",
  "skin",
  "nose",
  "right_eye",
  "left_eye",
  "right_brow",
  "left_brow",
  "right_ear",
  "left_ear",
  "mouth_interior",
  "top_lip",
  "bottom_lip",
  "neck",
  "hair",
  "beard",
  "clothing",
  "glasses",
  "headwear",
  "facewear",
)  # of FaceSynthetics; 255: nobody's


def read(path: str) -> folder_sets.Layout:
  """`000000.png` with its map of classes `000000_seg.png` beside it; or both in a zip."""
  def file_of(name: str) -> str:
    return f"{name.removesuffix('.png')}_seg.png"

  whole = image_folder.open_store(path)
  maps = {name for name in whole.names if name.endswith("_seg.png")}
  store = folder_sets.Some(
    whole, lambda name: name not in maps and file_of(name) in maps, "maps of classes"
  )

  def read_map(name: str) -> np.ndarray:
    with whole.open(file_of(name)) as file:
      return np.asarray(Image.open(file, formats=["PNG"]).convert("L"))

  def stamp(name: str) -> str:
    return whole.stamp(file_of(name))

  return folder_sets.Layout(store, {}, None, image_folder.Maps(read_map, FACE_PARTS, stamp))


SOURCE = folder_sets.source(
  "rendered faces of FaceSynthetics with part masks",
  read,
  "a folder or zip of its files 000000.png and 000000_seg.png",
)
