"""Correlation of depth at landmarks against SciPy, and what it must and must not notice."""

import numpy as np
import pytest
from scipy import ndimage, stats

from pdr_jax.metrics import landmarks


def depths(count=40, places=5):
  random = np.random.default_rng(0)
  true = 1 + 0.05 * random.normal(size=(count, places))
  return true + 0.03 * random.normal(size=true.shape), true


def test_correlation_is_that_of_scipy():
  predicted, true = depths()
  relative = [depth - depth.mean(axis=1, keepdims=True) for depth in (predicted, true)]
  expected = np.mean([stats.pearsonr(a, b)[0] for a, b in zip(relative[0].T, relative[1].T, strict=True)])
  assert (
    landmarks.correlation(predicted, true) == pytest.approx(expected, abs=1e-12) and 0.5 < expected < 0.95
  )


def test_sentinels():
  _, true = depths()
  assert landmarks.correlation(true, true) == pytest.approx(1)
  assert landmarks.correlation(2 - true, true) == pytest.approx(-1)  # hollow
  nearer = np.random.default_rng(1).normal(size=(len(true), 1))
  assert landmarks.correlation(3 * true + nearer, true) == pytest.approx(1)  # scale, and how far each head is
  assert landmarks.correlation(np.broadcast_to(true[:1], true.shape), true) == 0  # one face for all
  assert abs(landmarks.correlation(np.random.default_rng(2).permutation(true), true)) < 0.3


def test_read_is_bilinear():
  random = np.random.default_rng(0)
  depth = random.normal(size=(2, 6, 6)).astype(np.float32)
  pixels = random.uniform(0, 5, (2, 7, 2)).astype(np.float32)
  pixels[0, 0] = -3, 9  # beyond the picture
  for k in range(2):
    expected = ndimage.map_coordinates(
      depth[k].astype(np.float64), pixels[k, :, ::-1].T, order=1, mode="nearest"
    )
    np.testing.assert_allclose(landmarks.read(depth, pixels)[k], expected, atol=1e-5)
