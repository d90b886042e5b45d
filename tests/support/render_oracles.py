"""Slow, obvious renderers in NumPy float64, written from CONVENTIONS.md.

They share no code with the package.
"""

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

PIVOT = np.array([0.0, 0.0, 1.0])


def focal_length(side, fov=10.0):
  return (side - 1) / 2 / np.tan(np.deg2rad(fov) / 2)


def rotation(view):
  # extrinsic: about x, then y, then z
  return Rotation.from_euler("xyz", np.asarray(view, np.float64)[:3]).as_matrix()


def to_camera(points, view):
  return (points - PIVOT) @ rotation(view).T + PIVOT + np.asarray(view, np.float64)[3:]


def to_canonical(points, view):
  return (points - PIVOT - np.asarray(view, np.float64)[3:]) @ rotation(view) + PIVOT


def surface(depth, fov=10.0, widen=0.0):
  """Points [S,S,3] of a depth map; the outermost ring is moved outwards by `widen` pixels."""
  side = depth.shape[0]
  f, c = focal_length(side, fov), (side - 1) / 2
  at = [-widen, *range(1, side - 1), side - 1 + widen]
  return np.array(
    [
      [[(at[u] - c) / f * depth[v, u], (at[v] - c) / f * depth[v, u], depth[v, u]] for u in range(side)]
      for v in range(side)
    ]
  )


def triangles(points):
  """[F,3,3] corners of the grid's triangles; cells are cut from their upper right to their lower left."""
  side = points.shape[0]
  triangles = []
  for v in range(side - 1):
    for u in range(side - 1):
      triangles.append([points[v, u], points[v, u + 1], points[v + 1, u]])
      triangles.append([points[v + 1, u], points[v, u + 1], points[v + 1, u + 1]])
  return np.array(triangles)


def cast_rays(corners, side, fov=10.0, slack=0.0):
  """Depth [S,S] of the nearest triangle that each pixel's ray meets, and the smallest barycentric there.

  Depth is infinity where there is none.
  """
  f, c = focal_length(side, fov), (side - 1) / 2
  depth, clearance = np.full((side, side), np.inf), np.full((side, side), np.inf)
  # ray * z = sum of corner * weight, weights sum to one
  normal_system = np.linalg.inv(np.swapaxes(corners, 1, 2))
  for v in range(side):
    for u in range(side):
      ray = np.array([(u - c) / f, (v - c) / f, 1.0])
      scaled = normal_system @ ray
      total = scaled.sum(axis=1)
      weights = scaled / total[:, None]
      hit = (weights.min(axis=1) >= -slack) & (total > 0)
      if hit.any():
        z = np.where(hit, 1 / total, np.inf)
        depth[v, u], clearance[v, u] = z.min(), weights[z.argmin()].min()
  return depth, clearance


def face_normals(depth, fov=10.0):
  """Normals tu x tv by central differences of points, outer ring (0, 0, 1)."""
  points = surface(depth, fov)
  side = depth.shape[0]
  result = np.tile(np.array([0.0, 0.0, 1.0]), (side, side, 1))
  for v in range(1, side - 1):
    for u in range(1, side - 1):
      n = np.cross(points[v, u + 1] - points[v, u - 1], points[v + 1, u] - points[v - 1, u])
      result[v, u] = n / np.linalg.norm(n)
  return result


def bilinear(image, u, v):
  """One sample; zeros outside."""
  height, width, _ = image.shape
  result = np.zeros(image.shape[2])
  u0, v0 = int(np.floor(u)), int(np.floor(v))
  for row in (v0, v0 + 1):
    for column in (u0, u0 + 1):
      if 0 <= row < height and 0 <= column < width:
        result += image[row, column] * (1 - abs(u - column)) * (1 - abs(v - row))
  return result


def warp(image, depth_at_view, view, fov=10.0):
  """The canonical image sampled at where each pixel's point of the view lies in the canonical picture."""
  side = image.shape[0]
  f, c = focal_length(side, fov), (side - 1) / 2
  canonical = to_canonical(surface(depth_at_view, fov), view)
  result = np.zeros_like(image)
  for v in range(side):
    for u in range(side):
      x, y, z = canonical[v, u]
      result[v, u] = bilinear(image, f * x / z + c, f * y / z + c)
  return result


def real_harmonics(directions):
  """[N,9] real spherical harmonics without Condon-Shortley phase.

  They come from SciPy's complex ones, which have it.
  """
  x, y, z = np.moveaxis(np.asarray(directions, np.float64), -1, 0)
  theta, phi = np.arccos(np.clip(z, -1, 1)), np.arctan2(y, x)
  columns = []
  for degree in range(3):
    for order in range(-degree, degree + 1):
      value = sph_harm_y(degree, abs(order), theta, phi) * (-1) ** order
      part = value.real if order >= 0 else value.imag
      columns.append(part * (np.sqrt(2) if order else 1.0))
  return np.stack(columns, axis=-1)
