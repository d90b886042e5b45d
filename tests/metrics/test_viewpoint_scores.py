"""Viewpoints after a fit: known lines and turns, the circle's seam, front and back, rotations."""

import numpy as np
from scipy.spatial.transform import Rotation

from pdr_jax.metrics import viewpoint


def angles(count, limit, seed=0):
  return np.random.default_rng(seed).uniform(-limit, limit, count)


def test_a_line_is_found_and_used_on_others():
  true, other = angles(20, 1.0), angles(5, 1.0, 1)
  np.testing.assert_allclose(viewpoint.fit_line(-2 * true + 0.3, true, -2 * other + 0.3), other, atol=1e-12)


def test_a_turn_is_found_across_the_seam_and_in_both_directions():
  true, other = angles(50, np.pi), angles(50, np.pi, 1)
  for sign in (1, -1):
    predicted, tested = (viewpoint.wrapped(sign * x + 2.5) for x in (true, other))
    got = viewpoint.fit_turn(predicted, true, tested)
    assert viewpoint.errors(got, other, True)["mean_absolute_error"].max() < 1e-9


def test_one_affine_map_unmixes_angles():
  true, other = (np.stack([angles(n, 1, i + n) for i in range(3)], 1) for n in (30, 9))
  mix, straight = np.array([[1, 0.4, 0], [-0.2, 2, 0.1], [0, 0.3, -1]]), np.zeros(3, bool)
  got = viewpoint.fit_affine(true @ mix + 0.1, true, other @ mix + 0.1, straight, straight)
  np.testing.assert_allclose(got, other, atol=1e-10)


def test_an_affine_map_of_a_circle():
  true, other = angles(40, np.pi)[:, None], angles(40, np.pi, 1)[:, None]
  around = np.array([True])
  got = viewpoint.fit_affine(1.0 - true, true, 1.0 - other, around, around)
  assert viewpoint.errors(got[:, 0], other[:, 0], True)["median_error"].max() < 1e-9


def test_angles_and_numbers_there_and_back():
  values = np.stack([angles(9, np.pi), angles(9, 1, 1), angles(9, 0.5, 2)], 1)
  circle = np.array([True, False, False])
  numbers = viewpoint.as_numbers(values, circle)
  assert numbers.shape == (9, 4)
  np.testing.assert_allclose(viewpoint.as_angles(3 * numbers, circle)[:, 0], values[:, 0], atol=1e-12)
  np.testing.assert_allclose(viewpoint.as_angles(numbers, circle), values, atol=1e-12)


def test_errors_of_a_circle():
  true = np.deg2rad(np.array([170.0, 0.0, 90.0, -10.0]))
  predicted = np.deg2rad(np.array([-170.0, 180.0, 100.0, -10.0]))
  got = viewpoint.errors(predicted, true, True)
  expected = {
    "mean_absolute_error": [20, 180, 10, 0], "median_error": [20, 180, 10, 0], "within_30": [1, 0, 1, 1],
    "axis_error": [20, 0, 10, 0], "reversed": [0, 1, 0, 0],
  }
  for name, value in expected.items():
    np.testing.assert_allclose(got[name], value, atol=1e-9, err_msg=name)


def test_what_goes_round():
  assert viewpoint.goes_round(angles(50, np.pi)) and not viewpoint.goes_round(angles(50, 0.8))
  assert viewpoint.goes_round(np.deg2rad(np.arange(0, 360, 60)))


def test_the_angle_between_rotations():
  true = np.stack([angles(6, 0.7), angles(6, 0.4, 1), angles(6, 0.2, 2)], 1)
  predicted = true + 0.05
  orders = {False: ("ZYX", [2, 0, 1]), True: ("ZXY", [2, 1, 0])}  # Rz Ry Rx; on a turntable Rz Rx Ry
  for turntable, (order, columns) in orders.items():
    turns = [Rotation.from_euler(order, a[:, columns]).as_matrix() for a in (predicted, true)]
    trace = np.einsum("bij,bij->b", *turns)
    expected = np.rad2deg(np.arccos((trace - 1) / 2))
    np.testing.assert_allclose(viewpoint.geodesic(predicted, true, turntable), expected, atol=1e-6)
  np.testing.assert_allclose(viewpoint.geodesic(true, true), 0, atol=1e-9)
