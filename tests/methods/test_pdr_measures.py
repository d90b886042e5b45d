"""PDR's measures as ratios of sums: the same for any batches, and equal to NumPy over the whole split."""

import numpy as np
import pytest

from pdr_jax.config import base, variant
from pdr_jax.methods.pdr import light as light_model
from pdr_jax.methods.pdr import measures
from pdr_jax.methods.pdr.scene import Scene
from pdr_jax.training.validation import complaints, with_deviations

COUNT, SIDE = 9, 10


@pytest.fixture(scope="module")
def split():
  rng = np.random.default_rng(0)
  arrays = {
    "depth": np.exp(rng.normal(0, 0.05, (COUNT, SIDE, SIDE))),
    "mask": np.ones((COUNT, SIDE, SIDE)),
    "view": rng.normal(0, 0.3, (COUNT, 6)),
    "light": rng.normal(size=(COUNT, 9)),
    "canonical_landmarks": np.concatenate(
      [rng.integers(0, SIDE, (COUNT, 7, 2)), rng.uniform(0.9, 1.1, (COUNT, 7, 1))], axis=-1
    ),
  }
  arrays["canonical_landmarks"][:6, 0, 2] = 0.8
  scene = Scene(
    rng.uniform(0.9, 1.1, (COUNT, SIDE, SIDE)),
    np.zeros((COUNT, SIDE, SIDE, 3)),
    rng.normal(size=(COUNT, 9)),
    0.7 * arrays["view"] + rng.normal(0, 0.1, (COUNT, 6)),
  )
  return (
    {key: value.astype(np.float32) for key, value in arrays.items()},
    Scene(*(value.astype(np.float32) for value in scene)),
    np.exp(rng.normal(0, 0.05, (COUNT, SIDE, SIDE))).astype(np.float32),
  )


def ratios(split, parts):
  batch, scene, depth = split
  sums = {}
  for rows, valid in parts:
    here = Scene(*(value[rows] for value in scene))
    valid = np.asarray(valid, np.float32)
    pairs = measures.without_truth(here, valid, base())
    pairs |= measures.against_truth(
      here, depth[rows], np.ones_like(depth[rows]), {key: value[rows] for key, value in batch.items()}, valid
    )
    for name, pair in pairs.items():
      sums[name] = sums.get(name, 0.0) + np.asarray(pair, np.float64)
  return {name: total / count for name, (total, count) in sums.items()}


@pytest.mark.slow
def test_ratios_are_those_of_the_whole_split_whatever_the_batches(split):
  whole = ratios(split, [(np.arange(COUNT), np.ones(COUNT))])
  parts = ratios(split, [(np.arange(4), np.ones(4)), (np.array([4, 5, 6, 7, 8, 0]), [1] * 5 + [0])])
  assert whole.keys() == parts.keys()
  for name, value in whole.items():
    assert parts[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name  # sums of nine float32 numbers
  batch, scene, depth = split
  for name, k in (("pitch", 0), ("yaw", 1), ("roll", 2)):
    p, t = scene.view[:, k].astype(np.float64), batch["view"][:, k].astype(np.float64)
    assert whole[f"{name}_slope"] == pytest.approx((p * t).sum() / (p * p).sum(), rel=1e-5)
    assert whole[f"{name}_mean"] == pytest.approx(np.degrees(p).mean(), rel=1e-5, abs=1e-4)
    assert whole[f"{name}_squared"] == pytest.approx((np.degrees(p) ** 2).mean(), rel=1e-5)
  inner = [maps[:, 1:-1, 1:-1].astype(np.float64) for maps in (depth, batch["depth"])]
  x, y = (np.log(maps).reshape(COUNT, -1) for maps in inner)
  x, y = (rows - rows.mean(axis=1, keepdims=True) for rows in (x, y))
  # Logs of float32 depths have errors of 1e-7 beside deviations of 5e-2.
  assert whole["relief_scale"] == pytest.approx((x * y).sum() / (x * x).sum(), rel=1e-3, abs=1e-5)
  above = scene.light[:, 1].mean() / light_model.BAND1_UNIT
  assert whole["light_from_above"] == pytest.approx(above, rel=1e-5, abs=1e-6)
  right, asked = [], []
  for i in range(COUNT):
    u, v, z = batch["canonical_landmarks"][i].T
    read = scene.depth[i][v.astype(int), u.astype(int)]
    asked.append(z[0] < z[1:])
    right.append(asked[-1] & (read[0] < read[1:]))
  assert whole["landmark_order"] == pytest.approx(np.sum(right) / np.sum(asked))
  faces = [all(row) for row in asked]
  assert 0 < sum(faces) < COUNT
  assert whole["nose_nearest"] == pytest.approx(sum(all(row) for row in right) / sum(faces))


def test_a_lamp_above_of_unit_strength_is_one(split):
  from pdr_jax.render import lighting

  light = lighting.directional_to_sh(np.float32([0.2]), np.float32([1.0]), np.float32([[0.0, 1.0, 0.0]]))
  scene = Scene(*(value[:1] for value in split[1]))._replace(light=light)
  total, count = measures.without_truth(scene, np.ones(1, np.float32), base())["light_from_above"]
  assert float(total / count) == pytest.approx(1.0, rel=1e-5)  # a handful of float32 products


@pytest.mark.parametrize("name, warned", [("", ["views"]), ("frontal", [])])
def test_views_that_cannot_turn_do_not_collapse(split, name, warned):
  """Angles of zero are a collapse where the configuration lets views turn, and no measure where not."""
  config = variant(base(), name)
  scene = split[1]._replace(light=np.ones((COUNT, 9), np.float32), view=np.zeros((COUNT, 6), np.float32))
  pairs = measures.without_truth(scene, np.ones(COUNT, np.float32), config)
  scores = with_deviations({f"val/{name}": float(total / count) for name, (total, count) in pairs.items()})
  spreads = {f"val/{angle}_spread" for angle in ("pitch", "yaw", "roll")} if warned else set()
  assert scores.keys() == {"val/light_from_above"} | spreads
  assert scores["val/light_from_above"] == pytest.approx(1 / light_model.BAND1_UNIT, rel=1e-6)
  assert [kind for kind, _ in complaints(scores, 50, 100)] == warned


def test_data_without_truth_has_none(split):
  _, scene, depth = split
  valid = np.ones(COUNT, np.float32)
  assert measures.against_truth(scene, depth, np.ones_like(depth), {"image": depth}, valid) == {}
  foreign = {"view": np.zeros((COUNT, 3), np.float32), "light": np.zeros(COUNT, np.float32)}
  assert measures.against_truth(scene, depth, np.ones_like(depth), foreign, valid) == {}
