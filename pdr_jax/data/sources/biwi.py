"""Biwi Kinect Head Pose Database (Fanelli et al. 2013): people turn their heads; the rotation is measured."""

import re
from typing import Any

import numpy as np
from jaxtyping import Float

from pdr_jax.data import dataset, folder_sets, head_poses, image_folder, squares
from pdr_jax.errors import UserError

# Who is in the sequences 01 to 24; four people were recorded twice.
PEOPLE = (
  "F01", "F02", "F03", "F04", "F05", "F06", "M01", "M02", "M03", "M04", "M05", "M06", "M07", "M08", "F03",
  "M09", "M10", "F05", "M11", "M12", "F02", "M01", "M13", "M14",
)
HEAD = 280.0  # side of the square at the head's centre, mm
_NAME = re.compile(r"(?:^|/)(\d\d)/frame_\d{5}_rgb\.png$")


def numbers_in(store: Any, name: str, rows: int) -> list[np.ndarray]:
  """The first lines of a text file that hold numbers. Raises `UserError`."""
  try:
    with store.open(name) as file:
      lines = [line.split() for line in file.read().decode().splitlines() if line.strip()]
    numbers = [np.array(line, np.float64) for line in lines[:rows]]
  except (OSError, KeyError, ValueError) as error:
    raise UserError(f"{store.where}/{name} cannot be read ({error})") from error
  if len(numbers) < rows:
    raise UserError(f"{store.where}/{name} has {len(numbers)} lines of numbers, and not {rows}")
  return numbers


def in_picture(
  calibration: list[np.ndarray], pose: list[np.ndarray]
) -> tuple[Float[np.ndarray, "3 3"], tuple[float, float], float]:
  """The head's rotation in the colour camera's frame; the column and row of its centre; its square's side.

  Poses are in the depth camera's frame. A calibration has three rows of intrinsic numbers, the distortion
  (which is not used), three rows of the rotation from that frame, and the translation, mm.
  """
  camera, turn, shift = np.stack(calibration[:3]), np.stack(calibration[4:7]), calibration[7]
  x, y, z = turn @ pose[3] + shift
  centre = float(camera[0, 0] * x / z + camera[0, 2]), float(camera[1, 1] * y / z + camera[1, 2])
  return turn @ np.stack(pose[:3]), centre, float(camera[0, 0] * HEAD / z)


def read(path: str) -> folder_sets.Layout:
  """`01/frame_00003_rgb.png` with `frame_00003_pose.txt` and the sequence's `rgb.cal` beside it.

  Pictures are squares around the head.
  """
  store = folder_sets.Some(image_folder.open_store(path), lambda name: bool(_NAME.search(name)))
  numbers = [int(_NAME.search(name).group(1)) for name in store.names]
  if strangers := sorted({number for number in numbers if not 1 <= number <= len(PEOPLE)}):
    raise UserError(f"{store.where} has a sequence {strangers[0]:02d}: there are 01 to {len(PEOPLE)}")
  folders = [name.rpartition("/")[0] for name in store.names]
  calibrations = {folder: numbers_in(store, f"{folder}/rgb.cal", 8) for folder in sorted(set(folders))}
  turns, around = np.zeros((len(folders), 3, 3)), {}

  def read_pose(i: int) -> None:
    name = store.names[i]
    pose = numbers_in(store, name.replace("_rgb.png", "_pose.txt"), 4)
    turns[i], centre, side = in_picture(calibrations[folders[i]], pose)
    around[name] = squares.Square(name, centre, side)

  dataset.for_each(len(folders), read_pose, "reading poses")
  columns = {"person": folder_sets.classes_of(PEOPLE[number - 1] for number in numbers)}
  if folders:
    columns |= head_poses.columns_of(turns)
  cut = squares.Squares(store, {name: around[name] for name in store.names})
  return folder_sets.Layout(cut, columns, apart="person")


SOURCE = folder_sets.source(
  "heads of the Biwi Kinect database with measured yaw, pitch and roll",
  read,
  "the folder hpdb (or faces_0) with 01/ to 24/, each with rgb.cal, frame_00003_rgb.png and "
  "frame_00003_pose.txt and so on; from https://data.vision.ee.ethz.ch/cvl/gfanelli/kinect_head_pose_db.tgz",
)
