"""Robustness: a probe that is right inside its range and wrong beyond a known angle; bins; the light of labelled angles."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pdr_jax.errors import UserError
from pdr_jax.evaluation import robustness
from pdr_jax.evaluation.features import Features


def pictures(degrees: np.ndarray, seed: int) -> Features:
  """Two attributes and four classes, readable until 20 degrees outside and the other way round beyond."""
  random = np.random.default_rng(seed)
  who = random.integers(0, 4, len(degrees)).astype(np.int32)
  labels = {"high": (who > 1).astype(np.int32), "odd": who % 2, "who": who}
  block = np.stack([2 * labels["high"] - 1, 2 * labels["odd"] - 1], 1) * (1 - degrees / 20)[:, None]
  return Features({"depth": (block + 0.01 * random.normal(size=block.shape)).astype(np.float32)}, labels, {})


def test_the_curve_falls_where_the_features_turn():
  degrees = np.concatenate([np.random.default_rng(2).uniform(1, 39, 400), [55.0, 56.0, np.nan, 0.0]])
  found = robustness.robustness(pictures(np.zeros(200), 0), pictures(np.zeros(60), 1), pictures(np.nan_to_num(degrees), 2), degrees,
                                attributes=["high", "odd"], classes=["who"], width=10, seeds=[0, 1])
  found = json.loads(json.dumps(found))
  examples = found["protocol"]["examples"]
  assert list(examples) == ["0", "0-10", "10-20", "20-30", "30-40"]  # two pictures at 55 degrees are too few
  assert examples["10-20"] == np.sum((degrees > 10) & (degrees <= 20)) and sum(examples.values()) == 460
  assert found["degrees"]["20-30"] == pytest.approx(degrees[(degrees > 20) & (degrees <= 30)].mean())
  for label in ("attributes", "who"):
    curve = found["results"]["depth"][label]
    accuracy = [curve[place]["balanced_accuracy"]["mean"] for place in examples]
    assert min(accuracy[:2]) == 1.0 and accuracy[2] > 0.9 and accuracy[3] < 0.1 and accuracy[4] == 0.0, (label, accuracy)
    assert len(curve["0-10"]["accuracy"]["per_seed"]) == 2


def test_nothing_outside_is_one_line():
  part = pictures(np.zeros(40), 0)
  with pytest.raises(UserError, match="no 10 images lie outside of the training range"):
    robustness.robustness(part, part, part, np.zeros(40), attributes=["high"])


def test_light_of_labelled_angles_against_rotations():
  """Azimuth turns the headlight about the vertical (y down), elevation tips it: positive ones light the left and the top."""
  azimuth, elevation = np.array([0, 90, -35, 20, 130]), np.array([0, 0, 20, -40, 10])
  features = Features({}, {"a": azimuth.astype(np.int32), "e": elevation.astype(np.int32), "who": np.arange(5)}, {})
  found = robustness.with_light(features, ["a", "e"]).labels
  light = np.stack([found[f"light/{i}"] for i in range(3)], 1)
  expected = Rotation.from_euler("xy", np.stack([-elevation, azimuth], 1), degrees=True).apply([0, 0, 1])
  np.testing.assert_allclose(light, expected, atol=1e-6)
  np.testing.assert_allclose(found["light_angle"], np.degrees(np.arccos(expected[:, 2])), atol=1e-3)
  assert light[1, 0] > 0.99 and found["light_angle"][4] > 90 and "a" not in found and "who" in found
  with pytest.raises(UserError, match="must name two labels, azimuth and elevation; the data has a, e, who"):
    robustness.with_light(features, ["a", "height"])


def test_pictures_within_the_limit_are_learned_from_or_held_out_and_all_others_lie_outside():
  angles = np.linspace(0, 80, 161)
  number = np.arange(161, dtype=np.int32)
  whole = Features({"depth": number[:, None].astype(np.float32)}, {"light_angle": angles, "n": number}, {})
  halves = [Features({"depth": whole.blocks["depth"][rows]}, {k: v[rows] for k, v in whole.labels.items()}, {})
            for rows in (slice(0, 100), slice(100, 161))]
  learned, inside, outside, degrees = robustness.by_light_angle(*halves, 30.0)
  numbers = [set(part.labels["n"].tolist()) for part in (learned, inside, outside)]
  assert set.union(*numbers) == set(range(161)) and sum(map(len, numbers)) == 161
  assert max(numbers[0] | numbers[1]) == 60 and len(numbers[1]) == 12
  np.testing.assert_allclose(degrees, outside.labels["light_angle"] - 30)
  np.testing.assert_array_equal(outside.blocks["depth"][:, 0], outside.labels["n"])
