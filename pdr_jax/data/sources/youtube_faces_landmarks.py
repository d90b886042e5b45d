"""Frames of YouTube Faces with 68 landmarks, and the pose that a mean face takes to lie on them."""

import os

import numpy as np

from pdr_jax.data import folder_sets, head_poses, image_folder

TABLE = "labels.csv"
LARGEST = 3.5  # px of the 96 x 96 crops: poses of a larger fit error count as missing
ANGLES = ("yaw_deg", "pitch_deg", "roll_deg")


def read(path: str) -> folder_sets.Layout:
  """Faces with `person`, `yaw_deg`, `pitch_deg` and `roll_deg`, and the fit's error `fit_error_px`.

  The table has `R = Ry(-yaw) Rx(-pitch) Rz(roll)`; the labels are the angles of CONVENTIONS.md of the same
  rotation. The published split is not by person, and is not used.
  """
  store = image_folder.open_store(path)
  rows = folder_sets.rows_by_file(os.path.join(path, TABLE), store, ("person", "rms_px", *ANGLES))
  turns = np.array([[float(row[name]) for name in ANGLES] for row in rows]) * np.array([-1.0, -1.0, 1.0])
  error = np.array([float(row["rms_px"]) for row in rows])
  columns = {"person": folder_sets.classes_of(row["person"] for row in rows)}
  columns |= head_poses.columns_of(head_poses.rotations_of("YXZ", turns), error > LARGEST)
  columns["fit_error_px"] = folder_sets.numbers_of(error)
  return folder_sets.Layout(store, columns, apart="person")


SOURCE = folder_sets.source(
  "faces of YouTube Faces with a fitted yaw, pitch and roll",
  read,
  f"a folder with images.zip and {TABLE} (file, person, yaw_deg, pitch_deg, roll_deg, rms_px), made of the "
  "folder data of https://github.com/udacity/P1_Facial_Keypoints",
)
