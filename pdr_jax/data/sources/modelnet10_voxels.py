"""ModelNet10 as voxels in one npz, seen as silhouettes from twelve azimuths."""

import os
import zipfile

import numpy as np

from pdr_jax.data import shape_files, shape_sets, stores, voxel_views
from pdr_jax.data.dataset import Dataset, Source
from pdr_jax.errors import UserError

KINDS = (
  "bathtub", "bed", "chair", "desk", "dresser", "monitor", "night_stand", "sofa", "table", "toilet",
)
FILE, LAYOUT = "modelnet10.npz", "modelnet10.npz (X_train, y_train, X_test, y_test) or the folder of it"


def read(config) -> Dataset:
  """The official split; validation is held out of the training part. Raises UserError.

  Volumes in which nothing is occupied, as the published file has some, are skipped.
  """
  data = config.data
  path = os.path.expanduser(data.path)
  path = os.path.join(path, FILE) if os.path.isdir(path) else path
  try:
    with np.load(path, allow_pickle=False) as file:
      arrays = {name: file[name] for name in ("X_train", "y_train", "X_test", "y_test")}
  except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
    raise UserError(f"{path} cannot be read ({error}); {data.name}: name {LAYOUT}") from error
  for part in ("train", "test"):
    grids, kinds = arrays[f"X_{part}"], arrays[f"y_{part}"]
    if grids.ndim != 4 or len(grids) != len(kinds) or kinds.min() < 0 or kinds.max() >= len(KINDS):
      raise UserError(f"{path}: X_{part} and y_{part} are not volumes and their {len(KINDS)} classes")

  occupied = {part: arrays[f"X_{part}"].any(axis=(1, 2, 3)) for part in ("train", "test")}
  empty = [(part, i) for part, some in occupied.items() for i in np.flatnonzero(~some)]
  skipped = [(f"X_{part}[{i}]", "no voxel is occupied") for part, i in empty]
  usable = {part: np.flatnonzero(some) for part, some in occupied.items()}

  def shapes(part: str, rows: np.ndarray) -> shape_sets.Shapes:
    grids = arrays[f"X_{part}"]
    return shape_sets.Shapes(
      lambda i: voxel_views.fitted(shape_files.from_z_up(grids[rows[i]] > 0), data.side),
      arrays[f"y_{part}"][rows],
    )

  train, validation = shape_sets.held_out(len(usable["train"]), data.val_examples, data.scene_seed)
  parts = {
    "train": shapes("train", usable["train"][train]),
    "validation": shapes("train", usable["train"][validation]),
    "test": shapes("test", usable["test"]),
  }
  opened = shape_sets.open_shapes(data, parts, KINDS, skipped)
  return opened._replace(fingerprint=stores.fingerprint_of([path]))


SOURCE = Source(about="silhouettes of ModelNet10 from twelve azimuths", open=read, path=LAYOUT)
