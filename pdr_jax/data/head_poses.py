"""Head poses of published sets as labels of one convention, that of CONVENTIONS.md.

`yaw_deg`, `pitch_deg` and `roll_deg` are the angles of `R = Rz(roll) Ry(yaw) Rx(pitch)` in the camera's frame
(x right, y down, z forward): yaw > 0 shows the nose to the left of the picture, pitch > 0 further down, and
roll > 0 turns the head clockwise in the picture. Sets with other signs or another order of turns are
converted by their rotation.
"""

import io
from typing import Any

import numpy as np
from jaxtyping import Float

from pdr_jax.data import dataset, folder_sets, labels, squares
from pdr_jax.errors import UserError


def columns_of(
  rotations: Float[np.ndarray, "N 3 3"], missing: np.ndarray | None = None
) -> dict[str, labels.Column]:
  """The three labels of rotations from the frontal head to the camera's frame."""
  from scipy.spatial.transform import Rotation  # slow to import

  angles = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_euler("xyz", degrees=True)
  names = ("pitch_deg", "yaw_deg", "roll_deg")
  return {
    name: folder_sets.numbers_of(column, missing) for name, column in zip(names, angles.T, strict=True)
  }


def rotations_of(order: str, degrees: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3 3"]:
  """Right-handed turns about three axes, multiplied in this order: `XYZ` is `Rx Ry Rz`."""
  from scipy.spatial.transform import Rotation

  return Rotation.from_euler(order, degrees, degrees=True).as_matrix()


def of_3ddfa(radians: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3 3"]:
  """Rotations of `Pose_Para`'s pitch, yaw and roll.

  3DDFA has `R = Rx(-pitch) Ry(-yaw) Rz(-roll)` with x right, y up and z towards the camera; half a turn about
  x leads to the camera's frame, and turns the signs of what is about y and z.
  """
  return rotations_of("XYZ", np.rad2deg(radians) * np.array([-1.0, 1.0, 1.0]))


def read_faces(store: Any, landmarks: str) -> tuple[squares.Squares, dict[str, labels.Column]]:
  """Faces with a `.mat` beside each picture, as 3DDFA publishes them: squares around the face, and the pose.

  `landmarks` is the key of the points that the square is laid around: columns and rows in its first two rows.
  Raises `UserError`: a file that is missing or is no such file.
  """
  from scipy.io import loadmat  # slow to import

  angles = np.zeros((len(store.names), 3))
  points: list[np.ndarray] = [np.zeros((2, 0))] * len(store.names)

  def read(i: int) -> None:
    name = f"{store.names[i].rpartition('.')[0]}.mat"
    try:
      with store.open(name) as file:
        values = loadmat(io.BytesIO(file.read()), variable_names=["Pose_Para", landmarks])
      angles[i] = values["Pose_Para"].reshape(-1)[:3]
      points[i] = np.asarray(values[landmarks][:2], np.float64)
    except FileNotFoundError as error:
      raise UserError(f"there is no {store.where}/{name}") from error
    except Exception as error:  # scipy raises anything on files that are none
      raise UserError(f"{store.where}/{name} has no Pose_Para and {landmarks} ({error})") from error

  dataset.for_each(len(store.names), read, "reading poses")
  around = {
    name: squares.around_landmarks(name, place) for name, place in zip(store.names, points, strict=True)
  }
  return squares.Squares(store, around), columns_of(of_3ddfa(angles)) if store.names else {}
