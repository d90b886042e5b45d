"""Triangles on a screen in NumPy float64, one face at a time: which pixels they reach, and what holds there.

`condition` is by how many roundings the float32 barycentrics of a face may be off at a pixel: products of its
corners' distances from the pixel, divided by the squared length of its edges, and inside by its area.
"""

import numpy as np

from pdr_jax.render import depth_mesh
from support import render_oracles
from support.tolerances import rounding


def cross(a, b):
  return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def face_at(tri, pixels):
  """One face at all pixels: inside, squared distance to the outline, depth, barycentrics, condition.

  Outside, depth and barycentrics are those of the outline's nearest point.
  """
  p, z = tri[:, :2], tri[:, 2]
  area = cross(p[1] - p[0], p[2] - p[0])
  reach = np.linalg.norm(p - pixels[:, None], axis=-1).max(axis=1)
  lengths = np.linalg.norm(p - np.roll(p, 1, axis=0), axis=-1)
  condition = (reach / min(lengths[lengths > 0], default=1.0)) ** 2
  best, weights = np.full(len(pixels), np.inf), np.zeros((len(pixels), 3))
  for i in range(3):
    j = (i + 1) % 3
    edge = p[j] - p[i]
    length = edge @ edge
    t = np.clip((pixels - p[i]) @ edge / length, 0, 1) if length > 0 else np.zeros(len(pixels))
    distance = np.sum((p[i] + t[:, None] * edge - pixels) ** 2, axis=-1)
    closer = distance < best
    best[closer] = distance[closer]
    weights[closer] = 0
    weights[closer, i], weights[closer, j] = 1 - t[closer], t[closer]
  inside = np.zeros(len(pixels), bool)
  if area != 0:
    opposite = [cross(p[(i + 1) % 3] - pixels, p[(i + 2) % 3] - pixels) for i in range(3)]
    plane = np.stack(opposite, axis=-1) / area
    inside = np.all(plane >= 0, axis=-1)
    weights[inside] = plane[inside]
    condition = np.where(inside, np.maximum(condition, reach**2 / abs(area)), condition)
  depth = 1 / (weights @ (1 / z))
  return inside, best, depth, weights / z * depth[:, None], condition


def nearest_faces(vertices, faces, height, width, count, blur):
  """Per pixel the nearest faces that reach it, and their depths.

  It also says whether float32 may doubt that they reach it, and whether it may doubt that or their order.
  Float32 may doubt a pixel that is as far from a face as the blur reaches, up to the rounding of edge
  functions, and the order of faces whose depths differ by less than their rounding.
  """
  v, u = np.mgrid[:height, :width]
  pixels = np.stack([u, v], -1).reshape(-1, 2).astype(np.float64)
  reached = [[] for _ in pixels]
  doubt = np.zeros(len(pixels), bool)
  for index, face in enumerate(faces):
    tri = vertices[face].astype(np.float64)
    if not np.all(tri[:, 2] > 0):
      continue
    inside, distance, depth, _, condition = face_at(tri, pixels)
    signed = np.where(inside, -1, 1) * np.sqrt(distance)
    hits = (inside | (distance <= blur**2)) if blur > 0 else inside
    doubt |= np.abs(signed - blur) < rounding(8, max(height, width) ** 2)
    rounded = rounding(16, condition * tri[:, 2].max() / tri[:, 2].min()) * depth
    for pixel in np.flatnonzero(hits):
      reached[pixel].append((depth[pixel], index, rounded[pixel]))
  selected, depths, tied = np.full((len(pixels), count), -1), np.zeros((len(pixels), count)), doubt.copy()
  for pixel, entries in enumerate(reached):
    entries.sort()
    depth, index, rounded = np.array(entries).reshape(-1, 3).T
    gaps = np.diff(depth[: count + 1])
    tied[pixel] |= bool(np.any(gaps < np.maximum(rounded[:-1], rounded[1:])[:count]))
    selected[pixel, : min(count, len(entries))] = index[:count]
    depths[pixel, : min(count, len(entries))] = depth[:count]
  return [x.reshape(height, width, *x.shape[1:]) for x in (selected, depths, doubt, tied)]


def values_of(vertices, faces, selected):
  """What the fragments of the given faces must hold: depth, barycentrics, signed squared distance.

  And their tolerances: depth's, absolute, and that of the barycentrics.
  """
  height, width, _ = selected.shape
  v, u = np.mgrid[:height, :width]
  pixels = np.stack([u, v], -1).astype(np.float64)
  depth, signed, condition = (np.zeros(selected.shape) for _ in range(3))
  spread = np.ones(selected.shape)
  barycentric = np.zeros((*selected.shape, 3))
  for index in np.unique(selected[selected >= 0]):
    where = selected == index
    at = np.broadcast_to(pixels[:, :, None], (*selected.shape, 2))[where]
    tri = vertices[faces[index]].astype(np.float64)
    inside, distance, depth[where], barycentric[where], condition[where] = face_at(tri, at)
    signed[where] = np.where(inside, -distance, distance)
    spread[where] = tri[:, 2].max() / tri[:, 2].min()
  off = rounding(16, 1 + condition)  # some sixteen differences, products, sums and quotients
  return depth, barycentric, signed, off * spread * depth, (off * spread)[..., None]


def kinks(vertices, faces, selected):
  """Entries whose gradient float32 may take on the other side of a jump.

  The gradient jumps where the pixel enters the face, where another edge becomes the nearest one (inside of
  the face too: its distance is signed), and where the nearest point of an edge becomes its end.
  """
  height, width, _ = selected.shape
  doubt = np.zeros(selected.shape, bool)
  v, u = np.mgrid[:height, :width]
  pixels = np.stack([u, v], -1).astype(np.float64)
  for index in np.unique(selected[selected >= 0]):
    where = selected == index
    at = np.broadcast_to(pixels[:, :, None], (*selected.shape, 2))[where]
    doubt[where] = _near_a_jump(vertices[faces[index], :2].astype(np.float64), at)
  return doubt


def _near_a_jump(corners, pixels):
  """Whether rounding may move one of the pixels `[P, 2]` across a jump of the gradient of one face."""
  p = corners[:, None] - pixels
  reach = np.linalg.norm(p, axis=-1).max(axis=0)
  # areas are differences of two products of coordinates; a foot is a corner and a product, of some eight
  # roundings of coordinates, and its distance is as exact as the foot
  off_area, off = rounding(4, reach**2), rounding(12, reach)
  areas = np.array([cross(p[(i + 1) % 3], p[(i + 2) % 3]) for i in range(3)])
  areas = areas * np.sign(areas.sum(axis=0))
  doubt = ~((areas > off_area).all(axis=0) | (areas < -off_area).any(axis=0))
  distances, places, unsure = [], [], []
  for i in range(3):
    j = (i + 1) % 3
    edge = corners[j] - corners[i]
    length = np.linalg.norm(edge)
    along = -(p[i] @ edge) / length  # of the foot, in pixels from corner i
    foot = p[i] + np.clip(along, 0, length)[:, None] * edge / length
    distances.append(np.linalg.norm(foot, axis=-1))
    places.append(np.where(along <= 0, i, np.where(along >= length, j, 3 + i)))  # a corner, or on the edge
    unsure.append((np.abs(along) < off) | (np.abs(along - length) < off))
  distances, places, unsure = np.array(distances), np.array(places), np.array(unsure)
  near = distances <= distances.min(axis=0) + 2 * off
  first = places[distances.argmin(axis=0), np.arange(len(pixels))]
  return doubt | (near & (unsure | (places != first))).any(axis=0)


def random_mesh(seed, vertices=20, faces=24, side=10.0):
  """Three meshes `[3, V, 3]` of random triangles `[F, 3]`; the last mesh is partly behind the camera."""
  rng = np.random.RandomState(seed)
  screen, z = rng.uniform(-2, side + 1, (3, vertices, 2)), rng.uniform(0.5, 2, (3, vertices, 1))
  points = np.concatenate([screen, z], -1)
  points[2, :, 2] -= 0.7
  return points.astype(np.float32), np.array([rng.permutation(vertices)[:3] for _ in range(faces)], np.int32)


def head_views(side, degrees, seed=0):
  """Three depth-grid meshes in screen space, turned: a bump in front of a border, whose rim is stretched."""
  y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
  points = render_oracles.surface(1.04 - 0.12 * np.sqrt(np.clip(1 - (x**2 + y**2) / 0.7, 0, 1)))
  angles = np.radians([[0, 0, 0], [degrees, -degrees, degrees], [-degrees / 3, degrees, 0]])
  views = np.concatenate([angles, 0.01 * np.random.RandomState(seed).randn(3, 3)], -1)
  views[0] = 0
  turned = np.array([render_oracles.to_camera(points.reshape(-1, 3), view) for view in views])
  x, y, z = np.moveaxis(turned, -1, 0)
  focal, centre = render_oracles.focal_length(side), (side - 1) / 2
  screen = np.stack([focal * x / z + centre, focal * y / z + centre, z], axis=-1)
  return screen.astype(np.float32), depth_mesh.grid_faces(side, side)


def hostile_meshes():
  """Names, meshes `[N, 9, 3]` and their three faces.

  All coordinates are exactly representable: the oracle has no rounding to disagree about.
  """
  def triangles(*corners, z=None):
    flat = [value for corner in corners for value in corner]
    points = np.array(flat, float).reshape(9, -1)
    return points if z is None else np.concatenate([points, np.reshape(z, (9, 1))], axis=1)

  one, far = np.ones(9), (-64, -64, 256, -64, -64, 256)
  quarter = (0, 0, 8, 0, 0, 8)
  meshes = {
    "edge_on": triangles((1, 1, 3, 2, 5, 3), (1, 4, 3, 4, 6, 4), (2, 0, 2, 3, 2, 5), z=one),
    "points": triangles((1, 1) * 3, (2.5, 2.5) * 3, (3, 3, 3, 3, 5, 3), z=one),
    "sub_pixel": triangles(
      (2.25, 2.25, 2.5, 2.25, 2.25, 2.5), (3.875, 3.875, 4.25, 4, 4, 4.25), (6, 1, 6.125, 1, 6, 1.125), z=one
    ),
    "screen_filling": triangles(
      far, (-64, -64, -64, 256, 256, -64), (-1, -1, 20, -1, -1, 20), z=np.repeat([2, 1, 4], 3)
    ),
    "interpenetrating": triangles(quarter, quarter, quarter, z=(1, 2, 2, 2, 1, 2, 2, 2, 1)),
    "behind": triangles(
      (0, 0, 7, 0, 0, 7), (0, 0, 7, 0, 0, 7), (1, 1, 4, 1, 1, 4), z=(1, 1, -1, 1, 0, 1, 2, 2, 2)
    ),
    "on_edge_and_vertex": triangles((1, 1, 5, 1, 1, 5), (5, 1, 5, 5, 1, 5), (5, 5, 7, 5, 5, 1), z=one),
    "nothing": triangles(
      (-9, -9, -8, -9, -9, -8), (20, 20, 21, 20, 20, 21), (1, 1, 5, 1, 1, 5), z=np.repeat([1, 1, -1], 3)
    ),
  }
  return list(meshes), np.array(list(meshes.values()), np.float32), np.arange(9, dtype=np.int32).reshape(3, 3)
