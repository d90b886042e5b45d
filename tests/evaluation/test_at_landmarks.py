"""Correlation of depth at landmarks against SciPy, and what it must and must not notice."""

import numpy as np
import pytest
from scipy import ndimage, stats

from pdr_jax.evaluation import at_landmarks


def depths(count=40, landmarks=5):
  random = np.random.default_rng(0)
  true = 1 + 0.05 * random.normal(size=(count, landmarks))
  return true + 0.03 * random.normal(size=true.shape), true


def test_correlation_is_that_of_scipy():
  predicted, true = depths()
  relative = lambda depth: depth - depth.mean(axis=1, keepdims=True)
  expected = np.mean([stats.pearsonr(a, b)[0] for a, b in zip(relative(predicted).T, relative(true).T, strict=True)])
  assert at_landmarks.correlation(predicted, true) == pytest.approx(expected, abs=1e-12) and 0.5 < expected < 0.95


def test_sentinels():
  _, true = depths()
  assert at_landmarks.correlation(true, true) == pytest.approx(1)
  assert at_landmarks.correlation(2 - true, true) == pytest.approx(-1)  # hollow
  nearer = np.random.default_rng(1).normal(size=(len(true), 1))
  assert at_landmarks.correlation(3 * true + nearer, true) == pytest.approx(1)  # scale, and how far each head is
  assert at_landmarks.correlation(np.broadcast_to(true[:1], true.shape), true) == 0  # one face for all
  assert abs(at_landmarks.correlation(np.random.default_rng(2).permutation(true), true)) < 0.3


def test_read_is_bilinear():
  random = np.random.default_rng(0)
  depth, pixels = random.normal(size=(2, 6, 6)).astype(np.float32), random.uniform(0, 5, (2, 7, 2)).astype(np.float32)
  pixels[0, 0] = -3, 9  # beyond the picture
  for k in range(2):
    expected = ndimage.map_coordinates(depth[k].astype(np.float64), pixels[k, :, ::-1].T, order=1, mode="nearest")
    np.testing.assert_allclose(at_landmarks.read(depth, pixels)[k], expected, atol=1e-5)


def test_padding_is_left_out_and_each_predictor_gets_its_own_score(monkeypatch):
  from pdr_jax.data.scenes import landmarks

  random = np.random.default_rng(0)
  batch = {"image": np.zeros((6, 8, 8, 3), np.float32), "weights": np.zeros((6, 1), np.float32), "view": np.zeros((6, 6), np.float32),
           "_mask": np.array([1, 1, 1, 1, 1, 0], np.float32)}
  maps = random.normal(size=(6, 8, 8)).astype(np.float32)
  places = random.integers(0, 8, (6, 4, 2))
  true = np.stack([maps[k, places[k, :, 1], places[k, :, 0]] for k in range(6)])
  true[5] = 1e6 * random.normal(size=4)
  located = np.concatenate([places, true[..., None]], axis=-1, dtype=np.float32)
  monkeypatch.setattr(landmarks, "locate", lambda world, weights, view, side: located)
  found = at_landmarks.correlations("heads", [batch], {"right": lambda batch: maps, "hollow": lambda batch: -maps})
  assert found == {"right": pytest.approx(1, abs=1e-6), "hollow": pytest.approx(-1, abs=1e-6)}
  assert at_landmarks.correlations("cars", [batch], {"right": lambda batch: maps}) == {}
