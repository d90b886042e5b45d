"""SIDE, MAD, relief and the baselines against naive loops in float64, and against what must not change them.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from support import render_oracles as oracle
from support.tolerances import mean_tolerance, rounding

from pdr_jax.metrics import geometry

SIDE, COUNT = 20, 3
# Logarithms of depths of about one, their differences, and their spread.
OFF_SIDE = rounding(4)
# Normals, in degrees: depths' rounding over a pixel's width, of 1/110 units.
OFF_MAD = 57.3 * rounding(2, 110)


@pytest.fixture(scope="module")
def batch():
  rng = np.random.default_rng(0)
  v, u = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE), indexing="ij")
  radius_sq = u * u + v * v
  tilt = np.array([0.0, 0.06, -0.04])[:, None, None]
  true = 0.97 + 0.05 * radius_sq + tilt * u
  predicted = (
    true
    + 0.01 * np.sin(3 * u + 2 * v + np.arange(COUNT)[:, None, None])
    + 0.002 * rng.normal(size=true.shape)
  )
  true_mask = (radius_sq[None] < np.array([0.5, 0.7, 0.9])[:, None, None]).astype(np.float64)
  rendered_mask = np.ones_like(true_mask)
  rendered_mask[:, :4] = 0
  rendered_mask[1, 10, 10] = 0  # a hole
  return {
    "predicted": predicted,
    "true": true,
    "rendered_mask": rendered_mask,
    "true_mask": true_mask,
    "radius_sq": radius_sq,
    "u": u,
  }


def arguments(batch, **changes):
  names = ("predicted", "true", "rendered_mask", "true_mask")
  return [np.asarray(changes.get(name, batch[name]), np.float32) for name in names]


def eroded(mask):
  result = np.zeros_like(mask)
  for i in range(1, mask.shape[0] - 1):
    for j in range(1, mask.shape[1] - 1):
      result[i, j] = mask[i - 1 : i + 2, j - 1 : j + 2].min()
  return result


def inside(batch):
  return [eroded(a) * eroded(b) > 0 for a, b in zip(batch["rendered_mask"], batch["true_mask"], strict=True)]


def test_erosion_against_loop():
  mask = (np.random.default_rng(1).uniform(size=(2, 12, 15)) < 0.9).astype(np.float32)
  mask[0] = 1
  expected = np.stack([eroded(m) for m in mask])
  assert 0 < expected[1].mean() < 0.7 and expected[0].sum() == 10 * 13
  np.testing.assert_array_equal(geometry.erode(mask), expected)


def test_side_against_loop(batch):
  expected = []
  for predicted, true, mask in zip(batch["predicted"], batch["true"], inside(batch), strict=True):
    error = [
      np.log(p) - np.log(t)
      for p, t, m in zip(predicted.ravel(), true.ravel(), mask.ravel(), strict=True)
      if m
    ]
    mean = sum(error) / len(error)
    expected.append(np.sqrt(sum((e - mean) ** 2 for e in error) / len(error)))
  np.testing.assert_allclose(geometry.scores(*arguments(batch))["side"], expected, rtol=0, atol=OFF_SIDE)


def test_mad_against_loop(batch):
  expected = []
  for predicted, true, mask in zip(batch["predicted"], batch["true"], inside(batch), strict=True):
    cosine = (oracle.face_normals(predicted) * oracle.face_normals(true)).sum(-1)
    expected.append(np.rad2deg(np.arccos(np.clip(cosine[mask], -1, 1))).mean())
  assert min(expected) > 5
  np.testing.assert_allclose(geometry.scores(*arguments(batch))["mad"], expected, rtol=0, atol=OFF_MAD)


def test_relief_and_correlation_against_numpy(batch):
  actual = geometry.scores(*arguments(batch))
  v, u = np.mgrid[:SIDE, :SIDE]
  for i, mask in enumerate(inside(batch)):
    p, t = batch["predicted"][i][mask], batch["true"][i][mask]
    plane = np.stack([np.ones(mask.sum()), u[mask], v[mask]], -1)
    left = [x - plane @ np.linalg.lstsq(plane, x, rcond=None)[0] for x in (p, t)]
    assert float(actual["relief"][i]) == pytest.approx(np.corrcoef(*left)[0, 1], abs=1e-3)
    assert float(actual["depth_correlation"][i]) == pytest.approx(np.corrcoef(p, t)[0, 1], abs=1e-3)


def test_equal_depths_score_zero_and_scale_does_not_count(batch):
  same = geometry.scores(*arguments(batch, predicted=batch["true"]))
  np.testing.assert_allclose(same["side"], 0, atol=OFF_SIDE)
  np.testing.assert_allclose(same["mad"], 0, atol=OFF_MAD)
  # a quotient of sums of squares
  off_relief = 2 * mean_tolerance(SIDE * SIDE)
  np.testing.assert_allclose(same["relief"], 1, atol=off_relief)
  scores, scaled = (
    geometry.scores(*arguments(batch)),
    geometry.scores(*arguments(batch, predicted=1.7 * batch["predicted"])),
  )
  # the reliefs' spread is a fiftieth of the depths, whose rounding it has
  for name, off in (("side", OFF_SIDE), ("mad", OFF_MAD), ("relief", off_relief + 50 * rounding(4))):
    np.testing.assert_allclose(scaled[name], scores[name], rtol=0, atol=off, err_msg=name)
  shifted = geometry.scores(*arguments(batch, predicted=batch["predicted"] + 0.3))
  assert (np.abs(shifted["side"] - scores["side"]) > 1e-4).all()


def test_a_hollow_face_turned_the_right_way_is_hollow(batch):
  """Plain correlation is fooled by the turned head's slope."""
  hollow = batch["true"] - 2 * 0.05 * batch["radius_sq"]
  actual = geometry.scores(*arguments(batch, predicted=hollow))
  assert (actual["relief"] < -0.99).all() and actual["depth_correlation"][2] > 0


def test_what_stands_outside_the_masks_does_not_count(batch):
  predicted, true, rendered_mask, true_mask = arguments(batch)
  before = geometry.scores(predicted, true, rendered_mask, true_mask)
  for rubbish in (np.inf, np.nan, 0.0, -3.0):
    littered = np.where(rendered_mask > 0, predicted, rubbish), np.where(true_mask > 0, true, rubbish)
    after = geometry.scores(*littered, rendered_mask, true_mask)
    for name, value in before.items():
      np.testing.assert_array_equal(after[name], value, err_msg=f"{name}, {rubbish}")


def test_constant_depth_baseline(batch):
  """SIDE is the spread of the log of the true depth, MAD the mean slope of the true surface; no relief."""
  _, true, _, true_mask = arguments(batch)
  actual = geometry.baseline_scores(jnp.ones((SIDE, SIDE)), true, true_mask)
  for i in range(COUNT):
    mask = eroded(batch["true_mask"][i]) > 0
    assert float(actual["side"][i]) == pytest.approx(np.log(batch["true"][i][mask]).std(), abs=OFF_SIDE)
    slope = np.rad2deg(np.arccos(oracle.face_normals(batch["true"][i])[mask][:, 2]))
    assert float(actual["mad"][i]) == pytest.approx(slope.mean(), abs=OFF_MAD)
    assert float(actual["relief"][i]) == float(actual["depth_correlation"][i]) == 0.0


def test_average_depth_against_loop(batch):
  true, mask = batch["true"], batch["true_mask"]
  first = geometry.depth_totals(np.float32(true[:2]), np.float32(mask[:2]))
  second = geometry.depth_totals(
    np.where(mask[2:] > 0, np.float32(true[2:]), np.float32(np.inf)), np.float32(mask[2:])
  )
  actual = np.asarray(geometry.average_depth(first[0] + second[0], first[1] + second[1]))
  for i in range(SIDE):
    for j in range(SIDE):
      values = [t[i, j] for t, m in zip(true, mask, strict=True) if m[i, j]]
      assert actual[i, j] == pytest.approx(np.mean(values) if values else true[mask > 0].mean(), abs=1e-5)
  assert mask.max(axis=0).min() == 0  # some pixels have no image
  truth = arguments(batch)[1::2]
  average = geometry.baseline_scores(jnp.asarray(actual), *truth)
  constant = geometry.baseline_scores(jnp.ones((SIDE, SIDE)), *truth)
  assert average["side"].mean() < constant["side"].mean() and average["mad"].mean() < constant["mad"].mean()


def test_totals_leave_out_padding_and_images_without_overlap(batch):
  predicted, true, rendered_mask, true_mask = arguments(batch)
  rendered_mask = rendered_mask * np.array([1, 0, 1], np.float32)[:, None, None]
  values = geometry.scores(predicted, true, rendered_mask, true_mask)
  np.testing.assert_array_equal(values["covered"], [1, 0, 1])
  assert all(np.isfinite(value).all() for value in values.values())
  totals = geometry.totals(values, jnp.array([1.0, 1.0, 0.0]))
  assert (
    totals["side"] == (values["side"][0], 1)
    and totals["mad"] == (values["mad"][0], 1)
    and totals["covered"] == (1, 2)
  )
  everything = geometry.totals(values)
  assert (
    float(everything["side"][0]) == pytest.approx(float(values["side"][0] + values["side"][2]))
    and everything["side"][1] == 2
  )


@pytest.mark.parametrize("side", [32, 64])
def test_convexity(side):
  v, u = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
  bowl = 0.05 * (u * u + v * v)
  rough = bowl + 0.02 * np.random.default_rng(2).normal(size=bowl.shape)
  clamped = 1 - bowl
  clamped[:, :2] = clamped[:, -2:] = 1.04  # the model's border does not make a hollow face convex
  depth = np.float32([1 + bowl, 1 - bowl, 1 + rough, 1 - rough, clamped, np.ones_like(bowl)])
  np.testing.assert_array_equal(geometry.is_convex(depth), [1, 0, 1, 0, 0, 0])
  off = 2 * mean_tolerance(side * side)  # quotients of sums of products
  np.testing.assert_allclose(geometry.convexity(depth)[jnp.array([0, 1, 4, 5])], [1, -1, -1, 0], atol=off)
  inside = u * u + v * v < 0.75**2
  expected = np.corrcoef(rough[inside], (u * u + v * v)[inside])[0, 1]
  assert float(geometry.convexity(depth)[2]) == pytest.approx(expected, abs=1e-4)


def test_angle_is_exact_for_small_and_large_angles():
  angles = np.array([0.0, 1e-4, 1e-2, 30.0, 90.0, 179.9])
  vectors = np.stack([np.sin(np.deg2rad(angles)), np.zeros(6), np.cos(np.deg2rad(angles))], -1).astype(
    np.float32
  )
  actual = geometry.angle(vectors, np.broadcast_to(np.float32([0, 0, 1]), (6, 3)))
  np.testing.assert_allclose(actual, angles, rtol=1e-4, atol=1e-6)
