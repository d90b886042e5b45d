"""EPFL's multi-view cars: cars on the turning platforms of a motor show (Ozuysal, Lepetit, Fua 2009)."""

import os

from pdr_jax.data import folder_sets, image_folder

TABLE = "labels.csv"


def read(path: str) -> folder_sets.Layout:
  """Squares around the cars with `car` and `azimuth_deg`, good to about 3 degrees.

  0 is the front, and above it the nose is to the left of the picture, as yaw of CONVENTIONS.md. The table
  has it from the frame of the front, the sense of the turn and the time of each frame
  (`azimuth_smooth_deg`: of the smoothest times that round to the published seconds).
  """
  store = image_folder.open_store(path)
  rows = folder_sets.rows_by_file(os.path.join(path, TABLE), store, ("car", "azimuth_smooth_deg"))
  columns = {
    "car": folder_sets.classes_of(int(row["car"]) for row in rows),
    "azimuth_deg": folder_sets.numbers_of(row["azimuth_smooth_deg"] for row in rows),
  }
  return folder_sets.Layout(store, columns, apart="car")


SOURCE = folder_sets.source(
  "turning cars of EPFL with azimuth",
  read,
  f"a folder with images.zip and {TABLE} (file, car, azimuth_smooth_deg), made of tripod-seq, the EPFL "
  "Multi-View Car Dataset of https://www.epfl.ch/labs/cvlab/data/",
)
