"""Geometry of scenes in NumPy float64, written from CONVENTIONS.md: cameras, and what a ray hits. For the
tests of the embedded worlds.
"""

import numpy as np


def camera_vertices(model, scene, k):
  """Vertices in the camera frame, float64, written from CONVENTIONS.md."""
  vertices = model.vertices.astype(np.float64) + np.tensordot(
    scene["weights"][k].astype(np.float64), model.modes.astype(np.float64), 1
  )
  rx, ry, rz, *shift = scene["view"][k].astype(np.float64)
  x = np.array([[1, 0, 0], [0, np.cos(rx), -np.sin(rx)], [0, np.sin(rx), np.cos(rx)]])
  y = np.array([[np.cos(ry), 0, np.sin(ry)], [0, 1, 0], [-np.sin(ry), 0, np.cos(ry)]])
  z = np.array([[np.cos(rz), -np.sin(rz), 0], [np.sin(rz), np.cos(rz), 0], [0, 0, 1]])
  pivot = np.array([0, 0, 1.0])
  return (vertices - pivot) @ (z @ y @ x).T + pivot + shift, z @ y @ x


def pixel_rays(side):
  focal = (side - 1) / 2 / np.tan(np.deg2rad(5))
  v, u = np.mgrid[:side, :side].astype(np.float64)
  return np.stack([(u - (side - 1) / 2) / focal, (v - (side - 1) / 2) / focal, np.ones_like(u)], -1)


def hits(ray, vertices, faces):
  """z [F] at which a ray through the origin (its z is 1) meets each face; inf where it does not.

  The method is that of Moeller & Trumbore.
  """
  a, b, c = np.moveaxis(vertices[faces], 1, 0)
  e1, e2 = b - a, c - a
  p = np.cross(ray, e2)
  det = (e1 * p).sum(-1)
  safe = np.where(np.abs(det) > 1e-16, det, 1.0)
  u = (-a * p).sum(-1) / safe
  q = np.cross(-a, e1)
  w, t = (q @ ray) / safe, (e2 * q).sum(-1) / safe
  hit = (np.abs(det) > 1e-16) & (u >= -1e-9) & (w >= -1e-9) & (u + w <= 1 + 1e-9) & (t > 0)
  return np.where(hit, t, np.inf)


def cast(ray, vertices, faces):
  """Nearest z along a ray; inf where nothing is hit."""
  return hits(ray, vertices, faces).min()
