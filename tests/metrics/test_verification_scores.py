"""Scores of verification against loops over thresholds, and sentinels."""

import numpy as np
import pytest

from pdr_jax.metrics.verification import verification


def test_verification_against_loops():
  random = np.random.default_rng(2)
  same = random.uniform(size=3000) < 0.4
  similarity = np.round(random.normal(size=3000) + 2 * same, 2)  # with ties
  actual = verification(same, similarity)
  wins = similarity[same][:, None] - similarity[~same][None]
  assert actual["roc_auc"] == pytest.approx(np.mean(wins > 0) + 0.5 * np.mean(wins == 0))
  for rate in (1e-2, 1e-3):
    accepted = [similarity >= threshold for threshold in [*np.unique(similarity), np.inf]]
    expected = max(a[same].mean() for a in accepted if a[~same].mean() <= rate)
    assert actual[f"tar_at_far_1e-{round(-np.log10(rate))}"] == pytest.approx(expected)
  assert actual["tar_at_far_1e-3"] < actual["tar_at_far_1e-2"]


def test_verification_sentinels():
  same = np.arange(100) % 2 == 0
  assert set(verification(same, same.astype(float)).values()) == {1.0}
  assert verification(same, np.ones(100)) == {"roc_auc": 0.5, "tar_at_far_1e-2": 0.0, "tar_at_far_1e-3": 0.0}
