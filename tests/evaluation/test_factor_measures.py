"""Relief, views, light and noses of a whole split against NumPy in float64."""

import numpy as np
import pytest

from pdr_jax.evaluation import factor_measures
from pdr_jax.metrics import intervals, views

SIDE = 12


def test_view_scores_against_numpy():
  rng = np.random.default_rng(0)
  true = rng.normal(0, 20, 41)
  predicted = 0.5 * true + 3 + rng.normal(0, 2, 41)
  found = views.scores(predicted, true)
  products = sum(p * t for p, t in zip(predicted, true, strict=True))
  assert found["slope"] == pytest.approx(products / sum(predicted**2))
  assert found["correlation"] == pytest.approx(np.corrcoef(predicted, true)[0, 1])
  b, a = np.polyfit(predicted[::2], true[::2], 1)
  assert found["error"] == pytest.approx(np.abs(a + b * predicted[1::2] - true[1::2]).mean())
  assert 1 < found["error"] < 6
  exact = views.scores(0.4 * true - 5, true)
  assert exact["error"] == pytest.approx(0, abs=1e-9) and exact["correlation"] == pytest.approx(1)
  still = views.scores(np.zeros(41), true)  # the fitted line is the mean
  assert "slope" not in still and still["correlation"] == 0
  assert still["error"] == pytest.approx(np.abs(true[1::2] - true[::2].mean()).mean())


def test_all_measures_of_a_split_without_its_padding():
  rng = np.random.default_rng(1)
  count, scale = 10, 0.7
  true = np.exp(0.05 * rng.normal(size=(count, SIDE, SIDE)))
  predicted = true ** (1 / scale) * rng.uniform(0.8, 1.2, (count, 1, 1))  # too deep, each at its own distance
  view = rng.normal(0, 0.3, (count, 6))
  light = rng.normal(size=(count, 9))
  places = np.concatenate([rng.uniform(2, 9, (count, 7, 2)), np.ones((count, 7, 1))], axis=-1)
  places[:, 0, 2] = 0.9  # the nose tip is truly nearest
  canonical = np.broadcast_to(np.linspace(0.9, 1.1, SIDE)[:, None], true.shape)  # depth rises with the row
  truth = {
    "depth": true, "view": view, "light": light, "canonical_landmarks": places, "mask": np.ones_like(true),
    "index": np.arange(count),
  }
  truth = {key: np.asarray(value, np.float32) for key, value in truth.items()}
  batches = [{k: v[i : i + 5] for k, v in truth.items()} | {"_mask": np.ones(5, np.float32)} for i in (0, 5)]
  batches[1]["_mask"][3:] = 0

  def decompose(index):
    import jax.numpy as jnp

    rows = index.astype(int)
    parts = {"depth_at_view": predicted, "depth": canonical, "view": 0.5 * view, "light": -light}
    parts = {key: jnp.asarray(np.asarray(value, np.float32))[rows] for key, value in parts.items()}
    return parts | {"mask": jnp.ones_like(parts["depth"])}

  found, outcomes = factor_measures.measure(decompose, batches, "index")
  assert found.keys() == factor_measures.DIRECTIONS.keys()
  # Logs of float32 depths near 1: errors of 1e-7 beside deviations of 5e-2.
  assert found["relief_scale"] == pytest.approx(scale, rel=1e-4)
  assert found["side_x_100_scaled"] == pytest.approx(0, abs=0.02)  # square root of such errors
  for name in ("yaw", "pitch", "roll"):
    assert found[f"{name}_slope"] == pytest.approx(2, rel=1e-5)
    assert found[f"{name}_error"] == pytest.approx(0, abs=1e-4)
  assert found["light_error"] == pytest.approx(180, abs=1e-2)
  assert found["light_vertical"] == found["light_horizontal"] == 0
  nearer = places[:8, :1, 1] < places[:8, 1:, 1]
  assert found["landmark_order"] == pytest.approx(nearer.mean())
  assert found["nose_nearest"] == pytest.approx(nearer.all(axis=1).mean())
  for name, given in outcomes.items():  # what single pictures gave makes up the score
    score = intervals.weighted_scores(given.values, given.strata, np.ones((1, 8)), measure=given.measure)
    assert score.item() == pytest.approx(found[name], rel=1e-5, abs=1e-5)
  assert {name for name in factor_measures.TITLES if factor_measures.DIRECTIONS[name]} <= outcomes.keys()


def test_side_after_one_scale_against_a_loop():
  rng = np.random.default_rng(2)
  logs = [(rng.normal(0, 0.05, n), rng.normal(0, 0.03, n)) for n in (20, 50, 35)]
  logs = [(x - x.mean(), y - y.mean() + 0.4 * (x - x.mean())) for x, y in logs]
  moments = {
    "pixels": np.array([len(x) for x, _ in logs] + [0.0]),
    "product": np.array([(x * y).mean() for x, y in logs] + [0.0]),
    "predicted_squared": np.array([(x * x).mean() for x, _ in logs] + [0.0]),
    "true_squared": np.array([(y * y).mean() for _, y in logs] + [0.0]),
  }
  x, y = (np.concatenate(parts) for parts in zip(*logs, strict=True))
  scale = (x * y).sum() / (x * x).sum()
  found, sides = factor_measures.relief(moments)
  assert found["relief_scale"] == pytest.approx(scale)
  side = np.mean([np.sqrt(np.mean((scale * x - y) ** 2)) for x, y in logs])
  assert found["side_x_100_scaled"] == pytest.approx(100 * side)
  assert sides.mean() == pytest.approx(100 * side) and len(sides) == 3
  assert factor_measures.relief({name: 0 * value for name, value in moments.items()})[0] == {}
