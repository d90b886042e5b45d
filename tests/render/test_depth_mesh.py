"""Grid meshes and normals against naive loops, cross products in float64 and planes known by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support import render_oracles as oracle
from support.tolerances import difference_tolerance, rounding

from pdr_jax.render import camera, depth_mesh


def test_faces_cover_the_grid_exactly_once():
  height, width = 4, 6
  faces = depth_mesh.grid_faces(height, width)
  assert faces.dtype == np.int32 and faces.shape == (2 * 3 * 5, 3)
  def corner(index):
    return np.array([index % width, index // width], float)
  area, cells = 0.0, {}
  for face in faces:
    a, b, c = map(corner, face)
    signed = ((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]) / 2
    assert signed == 0.5  # all wound alike; exact: the corners are integers
    area += signed
    middle = tuple(np.floor((a + b + c) / 3).astype(int))
    cells[middle] = cells.get(middle, 0) + 1
  assert area == (height - 1) * (width - 1)
  assert sorted(cells.values()) == [2] * (height - 1) * (width - 1)


def test_faces_of_the_published_size():
  assert depth_mesh.grid_faces(64, 64).shape == (7938, 3)


@pytest.mark.parametrize("side", [9, 24])
def test_normals_against_cross_products_in_float64(side):
  depth = np.random.default_rng(0).uniform(0.9, 1.1, (2, side, side)).astype(np.float32)
  actual = depth_mesh.normals(depth, camera.pinhole(side))
  expected = np.stack([oracle.face_normals(d.astype(np.float64)) for d in depth])
  np.testing.assert_allclose(actual, expected, rtol=0, atol=rounding(24))  # some twenty operations


def test_normals_of_a_tilted_plane_at_high_resolution():
  """a x + b y + z = 1 has the normal (a, b, 1) up to length, into the scene."""
  side, a, b = 256, 0.7, -0.4
  f, c = oracle.focal_length(side), (side - 1) / 2
  u, v = np.meshgrid(np.arange(side), np.arange(side))
  depth = (1 / (1 + a * (u - c) / f + b * (v - c) / f)).astype(np.float32)
  actual = np.asarray(depth_mesh.normals(depth, camera.pinhole(side)))[1:-1, 1:-1]
  expected = np.array([a, b, 1.0]) / np.sqrt(a * a + b * b + 1)
  # the rounding of the depths, over the width of two pixels, which is 2 / f
  off = rounding(2, f)
  np.testing.assert_allclose(actual, np.broadcast_to(expected, actual.shape), rtol=0, atol=off)


def test_outer_ring_faces_the_camera():
  actual = np.asarray(
    depth_mesh.normals(
      np.random.default_rng(1).uniform(0.9, 1.1, (8, 8)).astype(np.float32), camera.pinhole(8)
    )
  )
  ring = np.ones((8, 8), bool)
  ring[1:-1, 1:-1] = False
  np.testing.assert_array_equal(actual[ring], np.tile([0.0, 0.0, 1.0], (ring.sum(), 1)))


def test_gradients():
  lens = camera.pinhole(6, 60.0)
  depth = np.random.default_rng(2).uniform(0.8, 1.2, (6, 6)).astype(np.float32)
  # a weighted sum of 48 components, whose third derivatives are some 10^4: relief over a pixel's width
  step = 1e-3
  off = difference_tolerance(step, 30, 3e4)
  check_grads(
    lambda d: depth_mesh.normals(d, lens), (depth,), order=1, modes=["rev"], eps=step, atol=off, rtol=off
  )


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-8, 2e-8, 1e-6, 1.0])
def test_degenerate_depth_stays_finite(value):
  depth = jnp.full((5, 5), value)
  actual, pullback = jax.vjp(lambda d: depth_mesh.normals(d, camera.pinhole(5)), depth)
  assert np.isfinite(actual).all() and np.isfinite(pullback(jnp.ones_like(actual))[0]).all()
