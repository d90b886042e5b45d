"""PASCAL3D+ 1.1: photographs of rigid objects with their viewpoint (Xiang, Mottaghi, Savarese 2014).

Read is the part from ImageNet, with its published lists. Objects that are truncated, occluded or difficult,
and those without a continuous viewpoint, are left out, as in its evaluation.
"""

import os
from typing import Any

import numpy as np

from pdr_jax.data import dataset, folder_sets, image_folder, squares
from pdr_jax.errors import UserError
from pdr_jax.rules import one_of

CATEGORIES = (
  "aeroplane", "bicycle", "boat", "bottle", "bus", "car", "chair", "diningtable", "motorbike", "sofa",
  "train", "tvmonitor",
)
LISTS = ("train", "val")
MARGIN = 1.06  # of the square, relative to the longer side of the box


def objects_of(path: str, category: str) -> list[Any]:
  """The objects of a picture's annotation that are of a category and whole. Raises `UserError`."""
  from scipy.io import loadmat  # slow to import

  if not os.path.isfile(path):
    raise UserError(f"there is no {path}")
  try:
    record = loadmat(path, squeeze_me=True, struct_as_record=False)["record"]
    return [entry for entry in np.atleast_1d(record.objects) if is_whole(entry, category)]
  except Exception as error:  # scipy raises anything on files that are none
    raise UserError(f"{path} is no annotation of PASCAL3D+ ({type(error).__name__}: {error})") from error


def is_whole(entry: Any, category: str) -> bool:
  """Whether an object is of this category, all there to be seen, and has a continuous viewpoint."""
  partly = any(np.any(getattr(entry, name, 0)) for name in ("truncated", "occluded", "difficult"))
  has_view = bool(np.any(getattr(entry.viewpoint, "distance", 0)))  # 0 where only coarse angles are known
  return vars(entry)["class"] == category and has_view and not partly


def read(path: str, category: str) -> folder_sets.Layout:
  """The squares around a category's objects, with their viewpoint in degrees.

  `azimuth_deg` is 0 from the front, and above it the object's front is to the left of the picture (as yaw of
  CONVENTIONS.md); `elevation_deg` is above 0 where the camera looks down; `tilt_deg` is the published theta
  with the other sign: above 0, the object is turned clockwise in the picture.
  """
  part = f"{category}_imagenet"
  store = image_folder.open_store(os.path.join(path, "Images", part))
  file_of = {name.rpartition(".")[0]: name for name in store.names}
  around, angles, words = {}, [], []
  for word in LISTS:
    for (stem, *_) in folder_sets.rows_of(os.path.join(path, "Image_sets", f"{part}_{word}.txt")):
      if stem not in file_of:
        raise UserError(f"there is no {os.path.join(path, 'Images', part, stem)}.JPEG")
      objects = objects_of(os.path.join(path, "Annotations", part, f"{stem}.mat"), category)
      for i, entry in enumerate(objects):
        left, top, right, bottom = (float(value) - 1 for value in entry.bbox)  # published ones count from 1
        centre = (left + right) / 2, (top + bottom) / 2
        side = MARGIN * (max(right - left, bottom - top) + 1)
        around[f"{stem}_{i}.jpg"] = squares.Square(file_of[stem], centre, side)
        view = entry.viewpoint
        angles.append((float(view.azimuth) % 360, float(view.elevation), -float(view.theta)))
        words.append(word)
  names = ("azimuth_deg", "elevation_deg", "tilt_deg")
  columns = {
    name: folder_sets.numbers_of(values)
    for name, values in zip(names, np.reshape(angles, (-1, 3)).T, strict=True)
  }
  return folder_sets.Layout(squares.Squares(store, around), columns, words)


SOURCE = folder_sets.source(
  "objects of PASCAL3D+ with azimuth, elevation and tilt",
  read,
  "the folder PASCAL3D+_release1.1 with Images/car_imagenet/, Annotations/car_imagenet/ and "
  "Image_sets/car_imagenet_train.txt and _val.txt; from https://cvgl.stanford.edu/projects/pascal3d.html",
  {"category": dataset.Option("car", one_of(*CATEGORIES), f"one of {', '.join(CATEGORIES)}")},
)
