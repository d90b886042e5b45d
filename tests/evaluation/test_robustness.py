"""Robustness: a probe that is right inside its range and wrong beyond a known angle.

Bins and the light of labelled angles are checked too.
"""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.results import mean, score, through_json

from pdr_jax.errors import UserError
from pdr_jax.evaluation import joined
from pdr_jax.evaluation.features import Features
from pdr_jax.evaluation.probes import linear_maps
from pdr_jax.evaluation.tasks import robustness
from pdr_jax.evaluation.tasks.robustness import LIGHT_ANGLE


def pictures(degrees: np.ndarray, seed: int) -> Features:
  """Two attributes and four classes, readable until 20 degrees outside and the other way round beyond."""
  random = np.random.default_rng(seed)
  who = random.integers(0, 4, len(degrees)).astype(np.int32)
  labels = {"high": (who > 1).astype(np.int32), "odd": who % 2, "who": who}
  block = np.stack([2 * labels["high"] - 1, 2 * labels["odd"] - 1], 1) * (1 - degrees / 20)[:, None]
  noise = 0.01 * random.normal(size=block.shape)
  return Features({"depth": (block + noise).astype(np.float32)}, labels, {})


@pytest.mark.slow
def test_the_curve_falls_where_the_features_turn(tmp_path):
  degrees = np.concatenate([np.random.default_rng(2).uniform(1, 39, 400), [55.0, 56.0, np.nan, 0.0]])
  train, inside, outside = (
    pictures(np.nan_to_num(each), seed) for seed, each in enumerate((np.zeros(200), np.zeros(60), degrees))
  )
  result = robustness.robustness(
    train, inside, outside, degrees, single=["high", "odd"], several=["who"], width=10, seeds=[0, 1]
  )
  result = through_json(result, tmp_path)
  assert set(result.outcomes) == {
    f"robustness/light/{label}/depth/{metric}/balanced_accuracy"
    for label in ("attributes", "who") for metric in ("0", "outside")
  }
  given = result.outcomes["robustness/light/attributes/depth/outside/balanced_accuracy"]
  assert given.values.shape == (2, 4 * 2, 400) and (given.strata >= 0).sum() == 2 * 400
  examples = result.protocol["examples"]
  assert list(examples) == ["0", "0-10", "10-20", "20-30", "30-40"]  # two pictures at 55 degrees are too few
  assert examples["10-20"] == np.sum((degrees > 10) & (degrees <= 20)) and sum(examples.values()) == 460
  place = score(result, "depth", "20-30/accuracy", "who").place
  assert place == pytest.approx(degrees[(degrees > 20) & (degrees <= 30)].mean())
  drawn = joined.curves_of_blocks(result)
  for label in ("attributes", "who"):
    accuracy = [mean(result, "depth", f"{name}/balanced_accuracy", label) for name in examples]
    assert min(accuracy[:2]) == 1.0 and accuracy[2] > 0.9 and accuracy[3] < 0.1 and accuracy[4] == 0.0
    assert len(score(result, "depth", "0-10/accuracy", label).values) == 2
    beyond = mean(result, "depth", "outside/balanced_accuracy", label)
    assert beyond == pytest.approx(np.mean(accuracy[1:]), rel=1e-12)  # a mean of five float64 numbers
    assert [point[1] for point in drawn.panels[label]["depth"]] == pytest.approx(accuracy)


def test_probes_that_learn_the_same_are_fitted_once(monkeypatch):
  calls = []

  def models(inputs, targets, exclusive, seeds):
    calls.append(inputs)
    maps = np.random.default_rng(len(calls)).normal(size=(len(seeds), targets.shape[1], inputs.shape[1]))
    return linear_maps.Models(maps, maps[..., 0], {})

  monkeypatch.setattr(linear_maps, "logistic_models", models)
  degrees = np.linspace(1, 19, 40)
  parts = enumerate((np.zeros(60), np.zeros(40), degrees))
  train, inside, outside = (pictures(each, seed) for seed, each in parts)
  words = {"single": ["high"], "several": ["who"], "width": 20, "seeds": [0]}
  fitted = {}
  first = robustness.robustness(train, inside, outside, degrees, kind="view", fitted=fitted, **words)
  again = robustness.robustness(train, inside, outside, degrees, kind="view", fitted=fitted, **words)
  assert len(calls) == len(fitted) == 2 and again.scores == first.scores
  alone = robustness.robustness(train, inside, outside, degrees, kind="view", **words)
  assert len(calls) == 4 and alone.scores != first.scores  # other maps: of new calls


def test_nothing_outside_is_one_line():
  part = pictures(np.zeros(40), 0)
  with pytest.raises(UserError, match="no 10 images lie outside of the training range"):
    robustness.robustness(part, part, part, np.zeros(40), single=["high"])


def test_light_of_labelled_angles_against_rotations():
  """Azimuth turns the headlight about the vertical (y down), elevation tips it.

  Positive angles light the left and the top.
  """
  azimuth, elevation = np.array([0, 90, -35, 20, 130]), np.array([0, 0, 20, -40, 10])
  labels = {"a": azimuth.astype(np.int32), "e": elevation.astype(np.int32), "who": np.arange(5)}
  features = Features({}, labels, {}, {"a": np.arange(5) == 2, "who": np.arange(5) == 1})
  result = robustness.with_light(features, ["a", "e"])
  light = np.stack([result.labels[f"light/{i}"] for i in range(3)], 1)
  turns = np.stack([-elevation, azimuth], 1)
  expected = Rotation.from_euler("xy", turns, degrees=True).apply([0, 0, 1])
  np.testing.assert_allclose(light, expected, atol=1e-6)  # numbers of at most 1, rounded to float32
  angle = np.degrees(np.arccos(expected[:, 2]))
  np.testing.assert_allclose(result.labels[LIGHT_ANGLE], angle, atol=1e-4)  # at most 180, rounded to float32
  assert light[1, 0] > 0.99 and result.labels[LIGHT_ANGLE][4] > 90
  assert "a" not in result.labels and "who" in result.labels
  assert result.missing["light/0"].tolist() == [False, False, True, False, False] and result.missing["who"][1]
  with pytest.raises(UserError, match="must name two labels, azimuth and elevation; the data has a, e, who"):
    robustness.with_light(features, ["a", "height"])
  with pytest.raises(UserError, match=r"label 'e' holds classes, not degrees: .*label_kinds=e:numbers"):
    robustness.with_light(features._replace(classes={"e": ("0", "20")}), ["a", "e"])


def test_pictures_within_the_limit_are_learned_from_or_held_out_and_all_others_lie_outside():
  angles = np.linspace(0, 80, 161)
  number = np.arange(161, dtype=np.int32)
  block = number[:, None].astype(np.float32)
  whole = [
    Features({"depth": block[rows]}, {LIGHT_ANGLE: angles[rows], "n": number[rows]}, {})
    for rows in (slice(0, 100), slice(100, 161))
  ]
  learned, inside, outside, degrees = robustness.by_light_angle(*whole, 30.0)
  numbers = [set(part.labels["n"].tolist()) for part in (learned, inside, outside)]
  assert set.union(*numbers) == set(range(161)) and sum(map(len, numbers)) == 161
  assert max(numbers[0] | numbers[1]) == 60 and len(numbers[1]) == 12
  np.testing.assert_array_equal(degrees, outside.labels[LIGHT_ANGLE] - 30)
  np.testing.assert_array_equal(outside.blocks["depth"][:, 0], outside.labels["n"])
