"""CelebAMask-HQ: faces with 40 attributes and maps of 19 parts."""

import os

import numpy as np
from PIL import Image

from pdr_jax.data import folder_sets, image_folder, stores

MASK_PARTS = (
  "background",
  "skin",
  "nose",
  "eye_g",
  "l_eye",
  "r_eye",
  "l_brow",
  "r_brow",
  "l_ear",
  "r_ear",
  "mouth",
  "u_lip",
  "l_lip",
  "hair",
  "hat",
  "ear_r",
  "neck_l",
  "neck",
  "cloth",
)  # in the order in which its authors paint them
CELEBA_VALIDATION, CELEBA_TEST = 162_770, 182_637  # first images, numbered from zero, of CelebA's own splits


def read(path: str) -> folder_sets.Layout:
  """Images 0 to 29999, 40 attributes, and one PNG for each part that is seen.

  The split is CelebA's own, through the mapping.
  """
  store = image_folder.open_store(os.path.join(path, "CelebA-HQ-img"))
  _, header, *rows = folder_sets.rows_of(os.path.join(path, "CelebAMask-HQ-attribute-anno.txt"))
  attributes = {row[0]: [int(value) for value in row[1:]] for row in rows}
  mapping = folder_sets.rows_of(os.path.join(path, "CelebA-HQ-to-CelebA-mapping.txt"))[1:]
  original = {f"{row[0]}.jpg": int(row[1]) for row in mapping}
  folder = os.path.join(path, "CelebAMask-HQ-mask-anno")
  if not os.path.isdir(folder):
    raise FileNotFoundError("no folder CelebAMask-HQ-mask-anno")

  def files_of(name: str) -> list[str]:
    number = int(name.split(".")[0])
    return [os.path.join(folder, str(number // 2000), f"{number:05d}_{part}.png") for part in MASK_PARTS[1:]]

  def read_map(name: str) -> np.ndarray:
    classes = np.zeros((512, 512), np.uint8)
    for k, file in enumerate(files_of(name), 1):
      if os.path.isfile(file):
        classes[np.asarray(Image.open(file, formats=["PNG"]).convert("L")) > 127] = k
    return classes

  def stamp(name: str) -> str:
    return "".join(f"{stores.stamp_of(file)}\0" for file in files_of(name))

  table = np.array([attributes[name] for name in store.names])
  return folder_sets.Layout(
    store,
    {name: folder_sets.classes_of(table[:, i] > 0, ("-1", "1")) for i, name in enumerate(header)},
    [split_of(original[name]) for name in store.names],
    image_folder.Maps(read_map, MASK_PARTS, stamp),
  )


def split_of(index: int) -> str:
  """CelebA's own split of its image with this number, from zero."""
  return "train" if index < CELEBA_VALIDATION else "validation" if index < CELEBA_TEST else "test"


SOURCE = folder_sets.source(
  "faces of CelebAMask-HQ with attributes and part masks",
  read,
  "the folder CelebAMask-HQ, with CelebA-HQ-img/, CelebAMask-HQ-mask-anno/, CelebAMask-HQ-attribute-anno.txt "
  "and CelebA-HQ-to-CelebA-mapping.txt in it",
)
