"""Files of shapes: OFF meshes and binvox volumes, read strictly. What cannot be a solid is a `BadShape`.

Both come to a boolean volume with the axes z (forward), y (down), x (right); files have their second (binvox)
or third (OFF of ModelNet) axis up.
"""

import re

import numpy as np
from jaxtyping import Bool, Float, Int

MESH_VOXELS = 64  # along the longest side of a mesh
LARGEST = 512  # voxels along a side of a binvox
BINVOX_VERSION = "1"


class BadShape(Exception):
  """A file that holds no solid; the message is a reason in a few words."""


Solid = Bool[np.ndarray, "D H W"]


def read_off(data: bytes) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
  """Vertices and triangles of an OFF file; faces of more corners become fans. Raises BadShape.

  The counts may stand on the first line with the word OFF, as in parts of ModelNet40.
  """
  try:
    lines = [line.split("#")[0].strip() for line in data.decode("ascii").splitlines()]
  except UnicodeDecodeError as error:
    raise BadShape("no text: OFF files are ASCII") from error
  lines = [line for line in lines if line]
  if not lines or not lines[0].startswith("OFF"):
    raise BadShape("does not begin with OFF")
  rest = lines[0][3:].strip()
  lines = [rest, *lines[1:]] if rest else lines[1:]
  try:
    vertices, faces = (int(word) for word in lines[0].split()[:2])
  except (IndexError, ValueError) as error:
    raise BadShape("has no line with the counts of vertices and faces") from error
  body = lines[1:]
  if vertices < 3 or faces < 1 or len(body) != vertices + faces:
    raise BadShape(f"says {vertices} vertices and {faces} faces, and has {len(body)} lines of them")
  try:
    places = [[float(word) for word in line.split()[:3]] for line in body[:vertices]]
    rings = [[int(word) for word in line.split()] for line in body[vertices:]]
  except ValueError as error:
    raise BadShape(f"holds what is no number ({error})") from error
  if any(len(place) != 3 for place in places) or not np.isfinite(points := np.array(places)).all():
    raise BadShape("has vertices without three finite coordinates")
  triangles = []
  for ring in rings:
    corners = ring[1 : 1 + ring[0]]
    if ring[0] < 3 or len(corners) != ring[0]:
      raise BadShape(f"has a face that says {ring[0]} corners and names {len(ring) - 1}")
    if min(corners) < 0 or max(corners) >= vertices:
      raise BadShape(f"has a face with vertex {max(corners)} of {vertices}")
    triangles += [(corners[0], corners[i], corners[i + 1]) for i in range(1, len(corners) - 1)]
  return points, np.array(triangles)


def solid_of_mesh(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Solid:
  """What a mesh with z up encloses. Raises BadShape for an open mesh that encloses nothing."""
  import trimesh
  from scipy import ndimage

  mesh = trimesh.Trimesh(vertices, faces, process=True)
  longest = float(np.ptp(mesh.vertices, axis=0).max())
  if longest <= 0:
    raise BadShape("is a point")
  surface = mesh.voxelized(longest / MESH_VOXELS).matrix  # x, y, z
  filled = ndimage.binary_fill_holes(surface)
  if not mesh.is_watertight and filled.sum() == surface.sum():
    raise BadShape("is an open mesh: it encloses nothing")
  return from_z_up(filled)


def read_binvox(data: bytes) -> Solid:
  """The volume of a binvox file, of version 1. Raises BadShape."""
  head, found, body = data.partition(b"\ndata\n")
  lines = head.decode("ascii", "replace").split("\n")
  if not lines[0].startswith("#binvox"):
    raise BadShape("does not begin with #binvox")
  version = lines[0].removeprefix("#binvox").strip()
  if version != BINVOX_VERSION:
    raise BadShape(f"is of binvox version {version or 'unknown'}: version {BINVOX_VERSION} is read")
  size = next((re.fullmatch(r"dim (\d+) (\d+) (\d+)", line.strip()) for line in lines if "dim" in line), None)
  if not found or size is None:
    raise BadShape("has no line `dim D H W`, or none `data`")
  shape = tuple(int(count) for count in size.groups())
  if not all(1 <= count <= LARGEST for count in shape):
    raise BadShape(f"says {shape} voxels: up to {LARGEST} along a side are read")
  runs = np.frombuffer(body, np.uint8)
  if len(runs) % 2:
    raise BadShape("ends within a run of its data")
  values, counts = runs[::2], runs[1::2]
  if values.max(initial=0) > 1:
    raise BadShape(f"holds the value {int(values.max())}: voxels are 0 or 1")
  if int(counts.sum()) != int(np.prod(shape)):
    raise BadShape(f"holds {int(counts.sum())} voxels, and its head says {int(np.prod(shape))}")
  solid = np.repeat(values, counts).reshape(shape).astype(bool)  # x, z, y: y, the vertical, runs fastest
  if not solid.any():
    raise BadShape("holds no occupied voxel")
  return np.ascontiguousarray(solid.transpose(1, 2, 0)[:, ::-1])


def from_z_up(solid: Bool[np.ndarray, "X Y Z"]) -> Solid:
  """Axes x, y, z with z up to z forward, y down, x right: what was farther along y is farther away."""
  return np.ascontiguousarray(solid.transpose(1, 2, 0)[:, ::-1])
