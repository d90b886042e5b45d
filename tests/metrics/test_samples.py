"""Standardisation and the part that is held out."""

import numpy as np
import pytest

from pdr_jax.metrics.samples import split_off, standardize


def test_standardize_uses_train_only():
  random = np.random.default_rng(1)
  train = random.normal(3, 2, (50, 4)).astype(np.float32)
  test = random.normal(5, 1, (20, 4)).astype(np.float32)
  train[:, 2], test[0, 2] = 0.1, 7.0  # constant in train: zero everywhere
  a, b = standardize(train, test)
  for i in (0, 1, 3):
    mean, deviation = train[:, i].mean(dtype=np.float64), train[:, i].std(dtype=np.float64)
    # Values of at most ten, rounded to float32.
    np.testing.assert_allclose(a[:, i], (train[:, i] - mean) / deviation, atol=2e-6)
    np.testing.assert_allclose(b[:, i], (test[:, i] - mean) / deviation, atol=2e-6)
  assert not a[:, 2].any() and not b[:, 2].any() and a.dtype == b.dtype == np.float32


def test_a_unit_that_hardly_ever_fires_decides_nothing():
  random = np.random.default_rng(2)
  train = random.normal(size=(500, 3)).astype(np.float32)
  test = random.normal(size=(20, 3)).astype(np.float32)
  train[:, 0] = np.arange(500) == 7  # once
  train[:, 1] = np.arange(500) % 50 == 7  # ten times
  test[0, 0] = 1.0
  a, b = standardize(train, test)
  assert not a[:, 0].any() and not b[:, 0].any()
  assert a[:, 1:].std(axis=0) == pytest.approx(1, abs=1e-5)  # sums of 500 float32 squares
  (few,) = standardize(
    np.float32([[0], [0], [0], [0], [1]])
  )  # of five, one may be a fifth of all there is to know
  assert few.std() == pytest.approx(1, abs=1e-5)


def test_split_off():
  stays, held_out = split_off(50, 0.2, 3)
  assert len(held_out) == 10 and sorted([*stays, *held_out]) == list(range(50))
  np.testing.assert_array_equal(held_out, split_off(50, 0.2, 3)[1])
  assert set(held_out) != set(split_off(50, 0.2, 4)[1])
  assert [len(part) for part in split_off(2, 0.01, 0)] == [1, 1]
