"""Published layouts of viewpoint in miniature: known angles in the signs of CONVENTIONS.md, squares, splits.

What is missing is one line with the path and where to get it.
"""

import csv
import os

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.spatial.transform import Rotation
from support.configs import data_config

from pdr_jax.data import registry, squares
from pdr_jax.errors import UserError

CLOSE = 1e-9  # of angles in degrees: float64, a few dozen roundings of numbers up to 360
WHITE, BLACK = 255, 0


def opened(name, path, **data):
  return registry.find(name).open(data_config(name, path=str(path), **data))


def everything(data):
  """All examples of train and validation by key, and which are of validation."""
  parts = [split.load(np.arange(split.size), data.elements) for split in (data.train, data.validation)]
  batch = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
  return batch, np.arange(len(batch["image"])) >= data.train.size


def picture(path, light=None, size=(96, 80)):
  """A dark picture, white in the rectangle `light` (left, top, right, bottom)."""
  os.makedirs(os.path.dirname(path), exist_ok=True)
  pixels = np.zeros((size[1], size[0], 3), np.uint8)
  if light:
    left, top, right, bottom = light
    pixels[top:bottom, left:right] = WHITE
  Image.fromarray(pixels).save(path, quality=95)


def table(path, rows):
  with open(path, "w", newline="") as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)


def rotations(batch):
  """`Rz(roll) Ry(yaw) Rx(pitch)` of the labels, right-handed turns about the axes of the camera's frame."""
  angles = np.stack([batch[f"label/{name}_deg"] for name in ("pitch", "yaw", "roll")], axis=1)
  return Rotation.from_euler("xyz", angles, degrees=True).as_matrix()


def of_3ddfa(pitch, yaw, roll):
  """The rotation that 3DDFA's code makes, in the camera's frame; its own has y up and z backwards."""
  (a, b, c), (d, e, f) = np.cos([pitch, yaw, roll]), np.sin([pitch, yaw, roll])
  about_x = np.array([[1, 0, 0], [0, a, d], [0, -d, a]])
  about_y = np.array([[b, 0, -e], [0, 1, 0], [e, 0, b]])
  about_z = np.array([[c, f, 0], [-f, c, 0], [0, 0, 1]])
  half_turn = np.diag([1, -1, -1])
  return half_turn @ about_x @ about_y @ about_z @ half_turn


def face(stem, angles, key, light=(40, 30, 60, 50)):
  picture(f"{stem}.jpg", light)
  left, top, right, bottom = light
  corners = np.array([[left, right - 1, left, right - 1], [top, top, bottom - 1, bottom - 1]], np.float64)
  if key == "pt3d_68":
    corners = np.concatenate([corners, np.zeros((1, 4))])
  savemat(f"{stem}.mat", {"Pose_Para": np.array([[*angles, 9.0, 9.0, 9.0, 0.1]]), key: corners})


def test_300w_lp_turns_its_angles_to_ours_and_keeps_photographs_together(tmp_path):
  random, truth = np.random.default_rng(0), {}
  for i in range(6):
    for k in range(2):
      for folder in ("HELEN", "HELEN_Flip"):
        os.makedirs(tmp_path / folder, exist_ok=True)
        angles = random.uniform(-1, 1, 3)
        face(str(tmp_path / folder / f"HELEN_{i}_{k}"), angles, "pt2d")
        truth[tuple(np.round(of_3ddfa(*angles).reshape(-1), 6))] = str(i)
  os.makedirs(tmp_path / "AFW")
  face(str(tmp_path / "AFW/AFW_0_0"), [0.2, 0, 0], "pt2d")  # looks up
  picture(str(tmp_path / "Code/example.jpg"))
  data = opened("300w_lp", tmp_path, val_examples=5)
  batch, validation = everything(data)
  assert len(batch["image"]) == 25 and data.validation.size == 5
  originals = batch["label/original"]
  assert not set(originals[validation]) & set(originals[~validation])
  names = data.classes["label/original"]
  for matrix, original, collection in zip(
    rotations(batch), originals, batch["label/collection"], strict=True
  ):
    if data.classes["label/collection"][collection] == "HELEN":
      assert names[original] == f"HELEN_{truth[tuple(np.round(matrix.reshape(-1), 6))]}"
  (up,) = np.flatnonzero(batch["label/collection"] == data.classes["label/collection"].index("AFW"))
  # The nose goes up: our pitch is above 0 where it goes down.
  np.testing.assert_allclose(batch["label/pitch_deg"][up], -np.rad2deg(0.2), atol=CLOSE)
  np.testing.assert_allclose(batch["label/yaw_deg"][up], 0, atol=CLOSE)


def test_aflw2000_shows_the_square_around_the_landmarks(tmp_path):
  for i in range(4):
    face(str(tmp_path / f"image{i:05d}"), [0, 0.1 * i, -0.3], "pt3d_68")
  batch, _ = everything(opened("aflw2000", tmp_path))
  order = np.argsort(batch["label/yaw_deg"])
  expected = np.stack([of_3ddfa(0, 0.1 * i, -0.3) for i in range(4)])
  np.testing.assert_allclose(rotations(batch)[order], expected, atol=CLOSE)
  # The box of 20 pixels is two thirds of the side, in the middle of its columns and somewhat below that.
  bright = batch["image"][0, ..., 0] > WHITE // 2
  rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
  assert abs(len(columns) - 32 * 20 / 30) <= 2 and abs(columns.mean() - 15.5) <= 1
  assert abs(rows.mean() - (15.5 + 0.06 * 32)) <= 1.5


def test_a_square_repeats_the_rim():
  pixels = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
  piece = squares.cut(pixels, squares.Square("", (0.0, 1.0), 3.0))
  np.testing.assert_array_equal(piece[..., 0], [[0, 0, 1], [4, 4, 5], [8, 8, 9]])
  even = squares.cut(pixels, squares.Square("", (1.5, 0.5), 2.0))
  np.testing.assert_array_equal(even[..., 0], [[1, 2], [5, 6]])


def biwi_frame(folder, number, matrix, centre, light):
  stem = str(folder / f"frame_{number:05d}")
  picture(f"{stem}_rgb.png", light, size=(640, 480))
  lines = [" ".join(f"{value:.9f}" for value in row) + " " for row in matrix]
  with open(f"{stem}_pose.txt", "w") as file:
    file.write("\n".join([*lines, "", " ".join(map(str, centre)), ""]))


def test_biwi_has_the_rotation_of_its_colour_camera_and_splits_by_person(tmp_path):
  between = Rotation.from_euler("y", 10, degrees=True).as_matrix()  # of depth and colour camera
  wanted = Rotation.from_euler("xyz", [20, -30, 10], degrees=True).as_matrix()
  centre = np.array([100.0, -50.0, 900.0])
  shift = np.array([-24.0, 6.0, -13.0])
  x, y, z = between @ centre + shift
  column, row = round(500 * x / z + 320), round(500 * y / z + 240)
  for sequence in ("03", "07", "15", "22", "24"):  # 3 and 15 are one woman, 7 and 22 one man
    folder = tmp_path / "faces_0" / sequence
    os.makedirs(folder)
    camera = ["500 0 320", "0 500 240", "0 0 1", "", "0.1 0.2 0 0", ""]
    rows = [" ".join(f"{value:.12f}" for value in line) for line in (*between, shift)]
    (folder / "rgb.cal").write_text("\n".join([*camera, *rows[:3], "", rows[3], "", "640 480"]))
    for number in (3, 4):
      biwi_frame(folder, number, between.T @ wanted, centre, (column - 9, row - 9, column + 10, row + 10))
  data = opened("biwi", tmp_path, val_examples=3)
  batch, validation = everything(data)
  assert data.classes["label/person"] == ("F03", "M01", "M14") and len(batch["image"]) >= 9
  people = batch["label/person"]
  assert not set(people[validation]) & set(people[~validation]) and data.validation.size >= 2
  for name, angle in (("pitch", 20), ("yaw", -30), ("roll", 10)):
    np.testing.assert_allclose(batch[f"label/{name}_deg"], angle, atol=1e-5)  # written with nine decimals
  bright = batch["image"][0, ..., 0] > WHITE // 2
  places = np.argwhere(bright).mean(axis=0)
  np.testing.assert_allclose(places, 15.5, atol=1)  # the head's centre is that of the square
  side = 280 * 500 / z
  assert abs(np.sqrt(bright.sum()) - 32 * 19 / side) < 1.5


OBJECT = ("class", "bbox", "viewpoint", "truncated", "occluded", "difficult")


def annotation(path, *objects):
  """A record of PASCAL3D+: class, box, (azimuth, elevation, theta, distance) and marks of objects."""
  os.makedirs(os.path.dirname(path), exist_ok=True)
  entries = np.zeros(len(objects), [(name, object) for name in OBJECT])
  for i, (kind, box, view, *marks) in enumerate(objects):
    viewpoint = dict(zip(("azimuth", "elevation", "theta", "distance"), view, strict=True)) if view else []
    entries[i] = (kind, np.array(box), viewpoint, *(marks or (0, 0, 0)))
  savemat(path, {"record": {"filename": "x.JPEG", "objects": entries}})


def test_pascal3d_cuts_its_whole_objects_and_follows_its_lists(tmp_path):
  root = tmp_path / "PASCAL3D+_release1.1"
  cars, box, view = root / "Annotations/car_imagenet", (31, 21, 50, 40), (350.0, 10.0, 4.0, 7.0)
  for name in ("n1_1", "n1_2", "n1_3", "n1_4"):
    picture(str(root / f"Images/car_imagenet/{name}.JPEG"), (30, 20, 50, 40))
  annotation(str(cars / "n1_1.mat"), ("car", box, view))
  annotation(
    str(cars / "n1_2.mat"), ("car", box, (90.0, -5.0, 0.0, 7.0)), ("car", box, view, 1, 0, 0),
    ("bus", box, view), ("car", box, (45.0, 0.0, 0.0, 0.0)), ("car", box, None),
    ("car", box, (180.0, 0.0, -3.0, 5.0)),
  )  # fmt: skip
  annotation(str(cars / "n1_3.mat"), ("car", box, (-90.0, 0.0, 0.0, 3.0)))
  annotation(str(cars / "n1_4.mat"), ("car", box, view, 0, 1, 0))
  os.makedirs(root / "Image_sets")
  (root / "Image_sets/car_imagenet_train.txt").write_text("n1_1\nn1_2\n")
  (root / "Image_sets/car_imagenet_val.txt").write_text("n1_3\nn1_4\n")
  data = opened("pascal3d", root)
  batch, validation = everything(data)
  angles = {
    tuple(float(batch[f"label/{name}_deg"][i]) for name in ("azimuth", "elevation", "tilt"))
    for i in np.flatnonzero(~validation)
  }
  assert angles == {(350.0, 10.0, -4.0), (90.0, -5.0, 0.0), (180.0, 0.0, 3.0)}
  assert batch["label/azimuth_deg"][validation].tolist() == [270.0]
  bright = (batch["image"][..., 0] > WHITE // 2).mean()
  np.testing.assert_allclose(bright, (20 / 21) ** 2, atol=0.05)  # a box of 20 pixels in a square of 21
  with pytest.raises(UserError, match=r"Images/bus_imagenet does not exist.*cvgl.stanford.edu"):
    opened("pascal3d", root, options="category=bus")
  with pytest.raises(UserError, match=r"category=cat: must be one of aeroplane, "):
    opened("pascal3d", root, options="category=cat")
  os.remove(cars / "n1_4.mat")
  with pytest.raises(UserError, match=r"there is no .*/car_imagenet/n1_4.mat; pascal3d: name the"):
    opened("pascal3d", root)


def test_isomap_faces_have_our_signs(tmp_path):
  pan, tilt, light = np.array([[-1.5, 0, 1.5, 0.5], [1, -1, 0, 0], [0.5, 0.25, -1, 0]], np.float32)
  images = np.arange(4, dtype=np.uint8)[:, None, None] * 50 + np.zeros((4, 32, 32), np.uint8)
  np.savez(tmp_path / "isomap_faces.npz", images=images, pan=pan, tilt=tilt, light=light)
  batch, _ = everything(opened("isomap_faces", tmp_path, channels=1))
  order = np.argsort(batch["image"][:, 0, 0, 0])
  # The file's pan is above 0 to the right, and its light comes from there.
  for name, expected in (("pan", -pan), ("tilt", tilt), ("light", -light)):
    np.testing.assert_array_equal(batch[f"label/{name}"][order], expected)
  np.savez(tmp_path / "isomap_faces.npz", images=images, pan=pan, tilt=tilt)
  with pytest.raises(UserError, match=r"isomap_faces.npz has no array light"):
    opened("isomap_faces", tmp_path)


def test_epfl_cars_hold_whole_cars_out(tmp_path):
  rows = []
  for car in (2, 4, 11):
    for frame in range(4):
      rows.append({
        "file": f"car{car:02d}_{frame:03d}.jpg", "car": car, "azimuth_deg": 0,
        "azimuth_smooth_deg": 90 * frame + car,
      })
      picture(str(tmp_path / rows[-1]["file"]), size=(96, 96))
  table(tmp_path / "labels.csv", rows)
  data = opened("epfl_cars", tmp_path, val_examples=4)
  batch, validation = everything(data)
  assert len(set(batch["label/car"][validation])) == 1 and data.train.size == 8
  assert not set(batch["label/car"][validation]) & set(batch["label/car"][~validation])
  cars = np.array([int(name) for name in data.classes["label/car"]])[batch["label/car"]]
  np.testing.assert_allclose(batch["label/azimuth_deg"] % 90, cars, atol=CLOSE)
  assert "kept apart" in "\n".join(data.report)
  assert opened("epfl_cars", tmp_path, split_by="azimuth_deg", val_examples=4).train.size == 8  # if asked for


def test_youtube_faces_landmarks_know_which_poses_are_doubtful(tmp_path):
  rows = []
  for i, (yaw, pitch, roll, error) in enumerate([
    (20, 0, 0, 2), (0, 15, 0, 2), (0, 0, 10, 2), (25, -20, 15, 3.4), (60, 0, 0, 3.6), (1, 1, 1, 2)
  ]):
    rows.append({"file": f"{i}.jpg", "person": f"p{i % 3}", "yaw_deg": yaw, "pitch_deg": pitch,
                 "roll_deg": roll, "rms_px": error})
    picture(str(tmp_path / f"{i}.jpg"), size=(96, 96))
  table(tmp_path / "labels.csv", rows)
  data = opened("youtube_faces_landmarks", tmp_path, val_examples=2)
  batch, validation = everything(data)
  assert not set(batch["label/person"][validation]) & set(batch["label/person"][~validation])
  doubtful = batch["label/fit_error_px"] > 3.5
  np.testing.assert_array_equal(batch["missing/yaw_deg"], doubtful)
  assert doubtful.sum() == 1 and "missing/fit_error_px" not in batch
  angles = {tuple(np.round([batch[f"label/{name}_deg"][i] for name in ("yaw", "pitch", "roll")], 6) + 0.0)
            for i in range(6)}
  # Theirs are above 0 to the right, up and clockwise.
  assert {(-20, 0, 0), (0, -15, 0), (0, 0, 10)} <= angles
  theirs = Rotation.from_euler("y", -25, degrees=True) * Rotation.from_euler("x", 20, degrees=True)
  theirs = (theirs * Rotation.from_euler("z", 15, degrees=True)).as_matrix()
  assert np.abs(rotations(batch) - theirs).max(axis=(1, 2)).min() < CLOSE


@pytest.mark.parametrize(
  ("name", "words"),
  [
    ("300w_lp", r"holds no image of 300w_lp: name .*AFW_Flip/.*from 3DDFA's page"),
    ("aflw2000", r"holds no image of aflw2000: name .*image00002.mat.*from 3DDFA's page"),
    ("biwi", r"holds no image of biwi: name .*frame_00003_pose.txt.*from https"),
    ("pascal3d", r"Images/car_imagenet does not exist; pascal3d: name .*from https"),
    ("isomap_faces", r"isomap_faces.npz'.*: name .*github.com"),
    ("epfl_cars", r"labels.csv'.*: name .*epfl.ch"),
    ("youtube_faces_landmarks", r"labels.csv'.*: name .*github.com"),
  ],
)
def test_another_folder_is_one_line_with_the_path_and_where_to_get_it(tmp_path, name, words):
  picture(str(tmp_path / "cat" / "cat.png"))
  with pytest.raises(UserError, match=words) as error:
    opened(name, tmp_path)
  assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_a_file_that_is_missing_beside_a_picture_is_named(tmp_path):
  picture(str(tmp_path / "image00002.jpg"))
  with pytest.raises(UserError, match=rf"there is no {tmp_path}/image00002.mat; aflw2000: name the folder"):
    opened("aflw2000", tmp_path)
  (tmp_path / "image00002.mat").write_bytes(b"no")
  with pytest.raises(UserError, match=r"image00002.mat has no Pose_Para and pt3d_68") as error:
    opened("aflw2000", tmp_path)
  assert "\n" not in str(error.value)
  picture(str(tmp_path / "01/frame_00003_rgb.png"))
  with pytest.raises(UserError, match=r"01/rgb.cal cannot be read"):
    opened("biwi", tmp_path)
  (tmp_path / "01/rgb.cal").write_text("1 2 3\n" * 8)
  with pytest.raises(UserError, match=r"01/frame_00003_pose.txt cannot be read"):
    opened("biwi", tmp_path)
  (tmp_path / "01/frame_00003_pose.txt").write_text("1 0 0\n0 1 0\n")
  with pytest.raises(UserError, match=r"frame_00003_pose.txt has 2 lines of numbers, and not 4"):
    opened("biwi", tmp_path)
