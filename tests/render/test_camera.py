"""Cameras, rotations and views against SciPy and NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.spatial.transform import Rotation
from support import render_oracles as oracle
from support.tolerances import difference_tolerance, rounding

from pdr_jax.render import camera, reproject


@pytest.mark.parametrize("side", [2, 64, 256])
def test_field_of_view_is_between_the_outermost_centres(side):
  lens = camera.pinhole(side, 30.0)
  half = np.tan(np.deg2rad(15.0)) * 2.5  # half the picture's width at depth 2.5
  corners = np.array([[-half, -half, 2.5], [half, half, 2.5], [0, 0, 2.5]], np.float32)
  expected = [[0, 0, 2.5], [side - 1, side - 1, 2.5], [(side - 1) / 2, (side - 1) / 2, 2.5]]
  # inputs too
  np.testing.assert_allclose(camera.project(corners, lens), expected, rtol=0, atol=rounding(8, side))


def test_project_against_float64():
  points = np.random.default_rng(0).uniform([-0.2, -0.2, 0.5], [0.2, 0.2, 2.0], (2, 50, 3))
  f = oracle.focal_length(64)
  expected = np.stack(
    [f * points[..., 0] / points[..., 2] + 31.5, f * points[..., 1] / points[..., 2] + 31.5, points[..., 2]],
    -1,
  )
  np.testing.assert_allclose(
    camera.project(points.astype(np.float32), camera.pinhole(64)), expected, rtol=0, atol=rounding(6, 200)
  )  # the coordinates reach 175 pixels


def test_back_project_against_loop():
  depth = np.random.default_rng(1).uniform(0.9, 1.1, (7, 7))
  points = camera.back_project(depth.astype(np.float32)[None], camera.pinhole(7))
  # the depth's rounding to float32, and a product
  np.testing.assert_allclose(points[0], oracle.surface(depth), rtol=0, atol=rounding(2, 1.1))


@pytest.mark.parametrize("side", [64, 256])
def test_back_projected_pixels_project_onto_their_centres(side):
  """Also after a view of zero; the bound is what `reproject.BORDER_OVERLAP` relies on."""
  lens = camera.pinhole(side)
  depth = np.random.default_rng(2).uniform(0.9, 1.1, (4, side, side)).astype(np.float32)

  @jax.jit
  def there_and_back(depth):
    points = camera.back_project(depth, lens).reshape(4, -1, 3)
    return camera.project(camera.apply_view(points, jnp.zeros([4, 6])), lens)

  u, v = np.meshgrid(np.arange(side), np.arange(side))
  screen = np.asarray(there_and_back(depth)).reshape(4, side, side, 3)
  # four roundings of a coordinate; products with one and zero, and 1 + (z - 1), are exact
  assert np.abs(screen[..., :2] - np.stack([u, v], -1)).max() < rounding(4, side)
  assert rounding(4, 256) < reproject.BORDER_OVERLAP / 8
  np.testing.assert_array_equal(screen[..., 2], depth)


def test_rotation_matrix_against_scipy():
  angles = np.random.default_rng(3).uniform(-np.pi, np.pi, (20, 3))
  expected = Rotation.from_euler("xyz", angles).as_matrix()
  # three products, a sum, and sines within two eps; the angles' own rounding
  off = dict(rtol=0, atol=rounding(12))
  single = angles.astype(np.float32)
  np.testing.assert_allclose(camera.rotation_matrix(single), expected, **off)
  nested = camera.rotation_matrix(single.reshape(4, 5, 3))
  np.testing.assert_allclose(nested, expected.reshape(4, 5, 3, 3), **off)


def test_axis_angle_matrix_against_scipy():
  rng = np.random.default_rng(4)
  axis, angle = rng.normal(size=(20, 3)), rng.uniform(-np.pi, np.pi, 20)
  expected = Rotation.from_rotvec(
    axis / np.linalg.norm(axis, axis=-1, keepdims=True) * angle[:, None]
  ).as_matrix()
  np.testing.assert_allclose(
    camera.axis_angle_matrix(axis.astype(np.float32), angle.astype(np.float32)),
    expected,
    rtol=0,
    atol=rounding(16),  # as the rotation of three angles, and the axis is normalised first
  )
  gradient = jax.grad(lambda a: camera.axis_angle_matrix(a, jnp.float32(0.3)).sum())(jnp.zeros(3))
  assert np.isfinite(gradient).all()


def test_view_against_float64_and_its_inverse():
  rng = np.random.default_rng(5)
  points, views = rng.uniform([-0.1, -0.1, 0.9], [0.1, 0.1, 1.1], (6, 40, 3)), rng.uniform(-1, 1, (6, 6))
  expected = np.stack([oracle.to_camera(p, view) for p, view in zip(points, views, strict=True)])
  moved = camera.apply_view(points.astype(np.float32), views.astype(np.float32))
  off = dict(rtol=0, atol=rounding(6, 2.0))  # sums of four terms that reach 2
  np.testing.assert_allclose(moved, expected, **off)
  np.testing.assert_allclose(camera.undo_view(moved, views.astype(np.float32)), points, **off)
  one = camera.apply_view(points[0].astype(np.float32), views[0].astype(np.float32))  # no leading axes
  np.testing.assert_allclose(one, expected[0], **off)


def test_zero_view_changes_nothing():
  """Bit for bit: products with one and zero, and z - 1 + 1, are exact."""
  points = (
    np.random.default_rng(6).uniform([-0.1, -0.1, 0.6], [0.1, 0.1, 1.4], (1, 100, 3)).astype(np.float32)
  )
  np.testing.assert_array_equal(camera.apply_view(points, jnp.zeros([1, 6])), points)
  np.testing.assert_array_equal(camera.undo_view(points, jnp.zeros([1, 6])), points)


def test_gradients():
  rng = np.random.default_rng(7)
  points = rng.uniform([-0.5, -0.5, 0.7], [0.5, 0.5, 1.4], (5, 3)).astype(np.float32)
  view = rng.uniform(-0.5, 0.5, 6).astype(np.float32)
  lens = camera.Camera(2.0, 1.0, 1.5)
  # values of up to 10, third derivatives of some hundred: x / z at z = 0.7, along a random direction
  step = 1e-2
  off = difference_tolerance(step, 10, 600)
  options = dict(order=1, modes=["rev"], eps=step, atol=off, rtol=off)
  check_grads(lambda p, w: camera.project(camera.apply_view(p, w), lens), (points, view), **options)
  check_grads(camera.undo_view, (points, view), **options)


@pytest.mark.parametrize("z", [0.0, -1.0, 1e-38, 1e-7, 2e-6])
def test_points_without_a_picture_stay_finite(z):
  point = jnp.array([0.3, -0.2, z], jnp.float32)
  screen, pullback = jax.vjp(lambda p: camera.project(p, camera.pinhole(64)), point)
  assert np.isfinite(screen).all() and np.isfinite(pullback(jnp.ones(3))[0]).all()
  assert screen[2] == point[2]  # the rasterizer culls by it
