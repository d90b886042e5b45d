"""Mesh files: an asymmetric relief the right way up, its near side in front, coloured and wound outwards,
read back from the bytes.
"""

import io
import json
import math
import os
import struct

import numpy as np
import pytest
from PIL import Image

from pdr_jax.errors import UserError
from pdr_jax.exports import mesh

SIDE, FOV, RIM = 16, 10.0, 2


def relief():
  """Depth that is nearest up on the left, and colours that say row and column: an F would do, but this is
  smooth, so normals are too.
  """
  row, column = np.mgrid[:SIDE, :SIDE].astype(np.float32)
  depth = 1.02 - 0.05 * np.exp(-((row - 4) ** 2 + (column - 5) ** 2) / 12)
  colours = np.stack([row / (SIDE - 1), column / (SIDE - 1), np.full_like(row, 0.5)], axis=-1) * 2 - 1
  return depth.astype(np.float32), colours


def expected(to_file):
  """Vertices and display colours in reading order, pixel by pixel in float64.

  The axes are `to_file(right, up, towards the viewer)`.
  """
  depth, colours = relief()
  focal, centre = (SIDE - 1) / 2 / math.tan(math.radians(FOV) / 2), (SIDE - 1) / 2
  vertices, shown = [], []
  for row in range(SIDE):
    for column in range(RIM, SIDE - RIM):
      z = float(depth[row, column])
      vertices.append(to_file((column - centre) / focal * z, -(row - centre) / focal * z, 1 - z))
      shown.append([float(c) / 2 + 0.5 for c in colours[row, column]])
  return np.array(vertices), np.array(shown)


def read_parts(path):
  """The tree of a .glb, a reader of its accessors, and one of its buffer views."""
  data = open(path, "rb").read()
  magic, version, length = struct.unpack("<4sII", data[:12])
  assert (magic, version, length) == (b"glTF", 2, len(data))
  (size,) = struct.unpack("<I", data[12:16])
  tree, binary = json.loads(data[20 : 20 + size]), data[28 + size :]

  def bufferview(index):
    view = tree["bufferViews"][index]
    start = view.get("byteOffset", 0)
    return binary[start : start + view["byteLength"]]

  def accessor(index):
    entry = tree["accessors"][index]
    dtype = {5121: np.uint8, 5125: np.uint32, 5126: np.float32}[entry["componentType"]]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[entry["type"]]
    values = np.frombuffer(
      bufferview(entry["bufferView"]), dtype, entry["count"] * width, entry.get("byteOffset", 0)
    )
    return values.reshape(-1, width)

  return tree, accessor, bufferview


def read_glb(path):
  tree, accessor, _ = read_parts(path)
  for node in tree["nodes"]:  # nothing between the vertices and the world
    np.testing.assert_array_equal(np.reshape(node.get("matrix", np.eye(4)), (4, 4)), np.eye(4))
  (primitive,) = tree["meshes"][0]["primitives"]
  attributes = {name: accessor(index) for name, index in primitive["attributes"].items()}
  return (
    tree,
    attributes["POSITION"],
    attributes["NORMAL"],
    attributes["COLOR_0"][:, :3],
    accessor(primitive["indices"]).reshape(-1, 3),
  )


def read_ply(path):
  data = open(path, "rb").read()
  header, body = data.split(b"end_header\n", 1)
  lines = header.decode().splitlines()
  assert "format binary_little_endian 1.0" in lines
  counts = [int(line.split()[2]) for line in lines if line.startswith("element")]
  kinds = {"float": "<f4", "uchar": "u1", "int": "<i4"}
  fields = [
    (line.split()[2], kinds[line.split()[1]])
    for line in lines
    if line.startswith("property") and "list" not in line
  ]
  table = np.frombuffer(body, fields, counts[0])
  faces = np.frombuffer(body, [("n", "u1"), ("v", "<i4", 3)], counts[1], table.nbytes)["v"]

  def columns(*names):
    return np.stack([table[name] for name in names], axis=-1)

  return columns("x", "y", "z"), columns("nx", "ny", "nz"), columns("red", "green", "blue"), faces


def read_obj(path):
  rows = [line.split() for line in open(path) if line.strip()]
  vertices = np.array([row[1:] for row in rows if row[0] == "v"], float)
  normals = np.array([row[1:] for row in rows if row[0] == "vn"], float)
  faces = np.array([[int(corner.split("/")[0]) - 1 for corner in row[1:]] for row in rows if row[0] == "f"])
  assert not any(row[0] in ("mtllib", "usemtl") for row in rows)  # no second file
  return vertices[:, :3], normals, vertices[:, 3:] * 255, faces


def check(vertices, normals, faces, want, viewer):
  np.testing.assert_allclose(vertices, want, atol=2e-6)
  corners = vertices[faces].astype(np.float64)
  outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
  to_camera = viewer - corners.mean(axis=1)
  assert (
    len(faces) == 2 * (SIDE - 1) * (SIDE - 2 * RIM - 1) and (np.sum(outward * to_camera, axis=1) > 0).all()
  )
  # A vertex' normal is near those of the faces around it, computed here one by one.
  sums = np.zeros_like(want)
  for face, normal in zip(faces, outward, strict=True):
    sums[face] += normal
  sums /= np.linalg.norm(sums, axis=1, keepdims=True)
  np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
  assert (np.sum(normals * sums, axis=1) > math.cos(math.radians(8))).all()
  assert np.sum(normals * viewer, axis=1).min() < 0.95  # not all towards the viewer


def test_glb_is_y_up_with_its_front_along_z(tmp_path):
  depth, colours = relief()
  path = str(tmp_path / "a.glb")
  mesh.save(path, depth, colours, FOV)
  tree, vertices, normals, shown, faces = read_glb(path)
  want, display = expected(lambda right, up, near: (right, up, near))
  check(vertices, normals, faces, want, np.array([0.0, 0.0, 1.0]))
  nearest = vertices[np.argmax(vertices[:, 2])]
  assert nearest[0] < 0 < nearest[1]  # up on the left, as in the picture
  linear = np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)
  np.testing.assert_allclose(shown, linear * 255, atol=0.51)
  (material,) = tree["materials"]
  assert material["pbrMetallicRoughness"]["metallicFactor"] == 0 and "extensionsUsed" not in tree
  assert tree["meshes"][0]["primitives"][0]["material"] == 0
  assert os.listdir(tmp_path) == ["a.glb"]


def test_lit_glb_is_shown_as_it_is(tmp_path):
  path = str(tmp_path / "a.glb")
  mesh.save(path, *relief(), FOV, lit=True)
  tree = read_glb(path)[0]
  assert tree["extensionsUsed"] == ["KHR_materials_unlit"] and tree["materials"][0]["extensions"] == {
    "KHR_materials_unlit": {}
  }


@pytest.mark.parametrize("finer", [1, 3])
def test_a_larger_picture_is_the_texture_of_a_glb(tmp_path, finer):
  """Each vertex' place in the picture, projected by hand from where the vertex is; the mesh may be finer."""
  depth, _ = relief()
  depth = np.kron(depth, np.ones((finer, finer), np.float32))  # of the same square
  picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
  path = str(tmp_path / "a.glb")
  mesh.save(path, depth, picture / np.float32(127.5) - 1, FOV, model_side=SIDE)
  tree, accessor, bufferview = read_parts(path)
  (primitive,) = tree["meshes"][0]["primitives"]
  assert "COLOR_0" not in primitive["attributes"]
  material = tree["materials"][primitive["material"]]["pbrMetallicRoughness"]
  assert material["metallicFactor"] == 0 and "baseColorFactor" not in material
  image = tree["images"][tree["textures"][material["baseColorTexture"]["index"]]["source"]]
  with Image.open(io.BytesIO(bufferview(image["bufferView"]))) as stored:
    np.testing.assert_array_equal(np.asarray(stored.convert("RGB")), picture)
  x, y, near = accessor(primitive["attributes"]["POSITION"]).T.astype(np.float64)
  focal = (SIDE - 1) / 2 / math.tan(math.radians(FOV) / 2)
  across, down = x / (1 - near) * focal, -y / (1 - near) * focal  # pixels of the model from the middle
  expected = np.stack([across, down], axis=-1) / SIDE + 0.5
  uv = accessor(primitive["attributes"]["TEXCOORD_0"])
  np.testing.assert_allclose(uv, expected, atol=2e-5)  # positions of 1e-7 times a focal length of 90 pixels
  rim = RIM / SIDE  # the columns that are no surface
  np.testing.assert_allclose([uv[:, 0].min(), uv[:, 0].max()], [rim, 1 - rim], atol=0.5 / SIDE / finer + 1e-5)


def test_ply_is_z_up_with_its_front_along_minus_y(tmp_path):
  depth, colours = relief()
  path = str(tmp_path / "a.ply")
  mesh.save(path, depth, colours, FOV)
  vertices, normals, shown, faces = read_ply(path)
  want, display = expected(lambda right, up, near: (right, -near, up))
  check(vertices, normals, faces, want, np.array([0.0, -1.0, 0.0]))
  np.testing.assert_allclose(shown, display * 255, atol=0.51)


def test_obj_is_y_up_and_one_file(tmp_path):
  depth, colours = relief()
  path = str(tmp_path / "a.obj")
  mesh.save(path, depth, colours, FOV)
  vertices, normals, shown, faces = read_obj(path)
  want, display = expected(lambda right, up, near: (right, up, near))
  check(vertices, normals, faces, want, np.array([0.0, 0.0, 1.0]))
  np.testing.assert_allclose(shown, display * 255, atol=0.51)
  assert os.listdir(tmp_path) == ["a.obj"]


def test_another_suffix_is_refused(tmp_path):
  with pytest.raises(UserError, match=r"a\.stl: a mesh is written as \.glb, \.obj, \.ply"):
    mesh.save(str(tmp_path / "a.stl"), *relief(), FOV)
