"""The canonical pitch: a levelled depth has no slope from top to bottom."""

import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from pdr_jax.config import base
from pdr_jax.methods.pdr import scene


def raw_maps(seed=0, side=32):
  return np.random.default_rng(seed).normal(size=(3, side, side)).astype(np.float32)


def test_level_removes_the_least_squares_slope_of_the_middle_columns():
  raw = raw_maps()
  rows = np.linspace(-1, 1, 32)
  levelled = np.asarray(scene.level(raw), np.float64)
  for before, after in zip(raw.astype(np.float64), levelled, strict=True):
    slope = np.polyfit(rows, before[:, 12:20].mean(axis=1), 1)[0]
    np.testing.assert_allclose(after, before - slope * rows[:, None], atol=1e-5)
  assert abs(np.polyfit(rows, levelled[0, :, 12:20].mean(axis=1), 1)[0]) < 1e-6


def test_a_tilt_changes_nothing_where_depth_is_levelled():
  config = base()
  raw = raw_maps()
  tilted = raw + 0.7 * np.linspace(-1, 1, 32, dtype=np.float32)[None, :, None]
  assert np.abs(scene.bound_depth(raw, config) - scene.bound_depth(tilted, config)).max() > 0.01
  config.scene.level = True
  np.testing.assert_allclose(scene.bound_depth(raw, config), scene.bound_depth(tilted, config), atol=1e-6)


def test_gradient_of_level():
  check_grads(scene.level, (jnp.asarray(raw_maps(side=8)),), order=1, modes=["rev"], atol=1e-2, rtol=1e-2)
