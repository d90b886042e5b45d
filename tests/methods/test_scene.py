"""The canonical pitch: a levelled depth has no slope from top to bottom."""

import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads
from support.tolerances import difference_tolerance, mean_tolerance, rounding

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
    # the slope is a mean over 256 normal numbers, times a weight of up to 3; then a product and a difference
    off = 3 * mean_tolerance(256) + rounding(2, 4)
    np.testing.assert_allclose(after, before - slope * rows[:, None], rtol=0, atol=off)
  assert abs(np.polyfit(rows, levelled[0, :, 12:20].mean(axis=1), 1)[0]) < off


def test_a_tilt_changes_nothing_where_depth_is_levelled():
  config = base()
  raw = raw_maps()
  tilted = raw + 0.7 * np.linspace(-1, 1, 32, dtype=np.float32)[None, :, None]
  assert np.abs(scene.bound_depth(raw, config) - scene.bound_depth(tilted, config)).max() > 0.01
  config.scene.level = True
  # slopes as above, of depths between 0.9 and 1.1: the tanh's slope is at most one, times 0.1
  off = 0.1 * (3 * mean_tolerance(256) + rounding(8, 4)) + rounding(4, 1.1)
  np.testing.assert_allclose(
    scene.bound_depth(raw, config), scene.bound_depth(tilted, config), rtol=0, atol=off
  )


def test_gradient_of_level():
  # linear, so that a large step costs nothing: a scalar product of two times 192 normal numbers, of some 14
  off = difference_tolerance(0.1, 100, 0)
  check_grads(
    scene.level, (jnp.asarray(raw_maps(side=8)),), order=1, modes=["rev"], atol=off, rtol=0, eps=0.1
  )
