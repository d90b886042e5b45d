"""Deviations out of two means, and warnings that are said once."""

import numpy as np
import pytest
from support import toy

from pdr_jax.training import validation
from pdr_jax.training.validation import Validator, complaints, with_deviations


def test_deviation_is_that_of_all_numbers():
  yaws = np.random.default_rng(0).normal(7, 3, 50)
  means = {"val/l1": 0.5, "val/yaw_mean": yaws.mean(), "val/yaw_squared": (yaws**2).mean(), "val/x_mean": 2.0}
  result = with_deviations(means)
  assert result.keys() == {"val/l1", "val/yaw_spread", "val/x_mean"}
  assert result["val/yaw_spread"] == pytest.approx(yaws.std(), rel=1e-12 * 50)  # float64, 7^2 beside 3^2
  assert with_deviations({"a_mean": 1.0, "a_squared": 1.0 - 1e-9}) == {"a_spread": 0.0}


def test_warnings_come_late_and_once(monkeypatch):
  bad = {"val/light_from_above": -0.2, "val/yaw_spread": 0.5}
  assert complaints(bad, 10, 100) == [] and len(complaints(bad, 50, 100)) == 2
  assert [kind for kind, _ in complaints(bad | {"val/light_error": 20.0}, 50, 100)] == ["views"]
  assert complaints({"val/light_from_above": 0.1, "val/yaw_spread": 12.0}, 50, 100) == []
  assert complaints({"val/l1": 1.0}, 50, 100) == []
  lost = {"val/diversity": 0.05, "val/critic_gap": -1.0, "val/azimuth_spread": 30.0}
  assert [kind for kind, _ in complaints(lost, 50, 100)] == ["alike", "critic"]
  fair = {"val/diversity": 0.9, "val/critic_gap": 2.0, "val/azimuth_spread": 30.0}
  assert complaints(fair, 50, 100) == [] and complaints(fair | {"val/distance": 20.0}, 50, 100) == []
  ((kind, line),) = complaints(fair | {"val/distance": 3.0}, 50, 100)
  assert kind == "critic wins" and "\n" not in line and "critic_gap 2.00" in line
  monkeypatch.setattr(validation.steps, "validate_fn", lambda method: None)
  validator = Validator(toy.method(), [])
  lines = validator.warnings(bad, 50, 100)
  assert len(lines) == 2 and "from below" in lines[0] and "views collapse" in lines[1]
  assert validator.warnings(bad, 60, 100) == []
