"""Light direction, order of depth at landmarks and moments of log depth, against loops in float64."""

import math

import numpy as np
import pytest

from pdr_jax.metrics import geometry, landmarks, light

SIDE = 12


def test_light_scores_against_loops_and_closed_forms():
  rng = np.random.default_rng(0)
  predicted, true = rng.normal(size=(2, 40, 9)).astype(np.float32)
  true[0, 1:4], true[1, 1:4] = (0.05, 0.5, 1.0), (1.0, 0.5, 0.05)  # vertical, then horizontal: no side
  predicted[2, 1:4], true[3, 1:4] = 0, 0  # no direction
  predicted[4, 1:4] = 3 * true[4, 1:4]
  found = light.scores(predicted, true)
  for i in range(40):
    p, t = ([float(v[k]) for k in (3, 1, 2)] for v in (predicted[i], true[i]))
    length = math.hypot(*t)
    if i == 3:
      assert [float(weight[i]) for _, weight in found.values()] == [0, 0, 0]
      continue
    if i == 2:
      assert float(found["light_error"][0][i]) == 90
    else:
      cosine = sum(a * b for a, b in zip(p, t, strict=True)) / math.hypot(*p) / length
      # float32 products of three terms; the arc cosine of the reference is poor near 0 alone
      assert float(found["light_error"][0][i]) == pytest.approx(
        math.degrees(math.acos(max(-1, min(1, cosine)))), abs=2e-3 if i != 4 else 0.05
      )
    for name, k in (("light_horizontal", 0), ("light_vertical", 1)):
      value, weight = (float(array[i]) for array in found[name])
      assert weight == (abs(t[k]) >= 0.1 * length)
      assert value == (p[k] * t[k] > 0)
  assert float(found["light_vertical"][1][0]) == float(found["light_horizontal"][1][1]) == 0


def test_light_from_above_and_from_the_left_have_the_signs_of_the_conventions():
  coefficients = np.zeros((1, 9), np.float32)
  coefficients[0, 1], coefficients[0, 3] = 0.4, 0.2  # band 1 is y, z, x; light travels down and to the right
  np.testing.assert_array_equal(light.band1(coefficients), np.float32([[0.2, 0.4, 0.0]]))
  coloured = np.stack([0 * coefficients, coefficients, 2 * coefficients], -1)
  np.testing.assert_allclose(light.band1(coloured), [[0.2, 0.4, 0.0]], atol=1e-6)  # three float32 numbers


def test_nose_order_against_loops():
  rng = np.random.default_rng(1)
  predicted, true = rng.normal(size=(2, 60, 4)).astype(np.float32)
  true[:20, 0] = -9
  predicted[0] = 1.0  # flat: everything is wrong
  found = landmarks.nose_order(predicted, true)
  for i in range(60):
    asked = [j for j in (1, 2, 3) if true[i, 0] < true[i, j]]
    right = [j for j in asked if predicted[i, 0] < predicted[i, j]]
    assert [float(array[i]) for array in found["landmark_order"]] == [len(right), len(asked)]
    expected = [len(asked) == len(right) == 3, len(asked) == 3]
    assert [float(array[i]) for array in found["nose_nearest"]] == expected
  assert 20 < sum(found["nose_nearest"][1]) < 60 and float(found["landmark_order"][0][0]) == 0


def test_log_moments_give_side_and_the_scale_that_was_put_in():
  rng = np.random.default_rng(2)
  true = (1 + 0.05 * rng.normal(size=(3, SIDE, SIDE))).astype(np.float32)
  mask = np.ones_like(true)
  mask[1, 4:6, 3:8] = 0
  predicted = np.where(mask > 0, 1.3 * true**1.6, np.inf).astype(np.float32)  # 1.6 times too deep in the log
  found = geometry.log_moments(predicted, true, np.ones_like(mask), mask)
  for i in range(3):
    inside = [
      (r, c) for r in range(1, SIDE - 1) for c in range(1, SIDE - 1)
      if mask[i, r - 1 : r + 2, c - 1 : c + 2].min() > 0
    ]
    x = np.array([math.log(predicted[i, r, c]) for r, c in inside])
    y = np.array([math.log(true[i, r, c]) for r, c in inside])
    x, y = x - x.mean(), y - y.mean()
    # Logs of float32 depths have errors of 1e-7 beside deviations of 5e-2.
    assert float(found["product"][i]) == pytest.approx((x * y).mean(), rel=1e-4)
    assert float(found["predicted_squared"][i]) == pytest.approx((x * x).mean(), rel=1e-4)
    assert float(found["true_squared"][i]) == pytest.approx((y * y).mean(), rel=1e-4)
    assert float(found["pixels"][i]) == len(inside)
  np.testing.assert_allclose(found["product"] / found["predicted_squared"], 1 / 1.6, rtol=1e-4)
