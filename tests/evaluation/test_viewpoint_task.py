"""The task of viewpoints: own angles in another frame, ridge from blocks, the circle, what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from support.results import mean, score, through_json

from pdr_jax.config import base
from pdr_jax.elements import Element
from pdr_jax.errors import UserError
from pdr_jax.evaluation import batches, task
from pdr_jax.evaluation.features import Features
from pdr_jax.evaluation.representations import Representation
from pdr_jax.evaluation.tasks import viewpoint
from pdr_jax.methods.contract import Method

SIDE = 8


def nothing(*_):
  raise AssertionError("not called")


def split(count, seed, limits=(1.0, 0.4, 0.2), noise=0.0):
  """True angles, pictures whose first pixels say them, and a block of a linear mixture of them."""
  rng = np.random.default_rng(seed)
  true = rng.uniform(-1, 1, (count, 3)) * limits
  pictures = np.zeros((count, SIDE, SIDE, 1), np.float32)
  pictures[:, 0, :3, 0] = true
  block = np.concatenate([np.cos(true), np.sin(true)], 1) @ np.random.default_rng(9).normal(size=(6, 12))
  block = block + noise * rng.normal(size=block.shape)
  return true, pictures, block.astype(np.float32)


def context_of(monkeypatch, train, test, labels, decompose, **settings):
  parts = {"train": train, "test": test}

  def of_split(run, reads, name, keys=None):
    pictures = np.concatenate([parts[name][1], np.zeros((2, SIDE, SIDE, 1), np.float32)])  # two are padding
    yield {"image": pictures, "_mask": (np.arange(len(pictures)) < len(pictures) - 2).astype(np.float32)}

  monkeypatch.setattr(batches, "of_split", of_split)
  features = {
    name: Features({"features": part[2]}, {label: f(part[0]) for label, f in labels.items()}, {})
    for name, part in parts.items()
  }
  method = Method(init=nothing, update=nothing, validate=nothing, encode=nothing, decompose=decompose)
  reads = {"image": Element((SIDE, SIDE, 1), "float32", "image", (-1.0, 1.0))}
  model = Representation("trained", nothing, reads, method if decompose else None, {})
  config = ConfigDict({"seeds": 3, "labels": (), "identity": "identity", "light_angles": ()})
  chosen = ConfigDict(viewpoint.defaults() | settings)
  return task.Context(config, chosen, base(), model, *features.values(), "test", {}, print)


EXACT = {f"view/{i}": (lambda true, i=i: true[:, [1, 0, 2][i]]) for i in range(3)}


def result_of(context, tmp_path):
  (name, job), = viewpoint.jobs(context)
  assert name == "viewpoint"
  return through_json(job(), tmp_path)


def test_own_angles_are_right_up_to_a_line_and_a_mixture(monkeypatch, tmp_path):
  """Angles of another unit, zero and direction: a line mends them. Mixed ones: the affine map alone does."""
  mixing = {
    "straight": jnp.diag(jnp.array([-2.0, 1.0, 3.0])),
    "mixed": jnp.array([[1.0, 1, 0], [0, 1, 0], [0, 1, 1]]),
  }
  for kind, mix in mixing.items():
    context = context_of(
      monkeypatch, split(200, 0), split(50, 1), EXACT,
      lambda variables, pictures, mix=mix: {"angles": pictures[:, 0, :3, 0] @ mix + 0.1},
    )
    result = result_of(context, tmp_path)
    line = mean(result, viewpoint.LINE, "100/mean_absolute_error", "mean of the angles")
    affine = mean(result, viewpoint.AFFINE, "100/mean_absolute_error", "mean of the angles")
    assert affine < 1e-3 and (line < 1e-3) == (kind == "straight")
    assert (mean(result, viewpoint.AFFINE, "100/geodesic_error", "rotation")) < 1e-3
  assert result.protocol["sizes"] == [10, 100] and not result.protocol["full circle"]
  stored = result.details["calibration"]
  assert [len(rows) for rows in stored["10"]] == [10] * 3 and max(stored["100"][0]) < 200
  guess = mean(result, viewpoint.GUESS, "100/mean_absolute_error", "azimuth")
  ridge = mean(result, "features", "100/mean_absolute_error", "azimuth")
  assert ridge < 2 < 25 < guess  # the mean absolute value of even angles up to 57 degrees is 28.6
  assert score(result, "features", "10/mean_absolute_error", "tilt").direction == "lower"


def test_a_number_that_hardly_varies_in_ten_pictures_decides_nothing_elsewhere(monkeypatch, tmp_path):
  """A unit that fires in every tenth picture: by what ten pictures say of it, others are a thousand away."""
  def with_sparse_units(part, seed):
    rng = np.random.default_rng(seed)
    fires = rng.uniform(size=(len(part[2]), 8)) < 0.1
    units = np.where(fires, 1 + rng.uniform(size=fires.shape), 1e-3 * rng.uniform(size=fires.shape))
    return *part[:2], np.concatenate([part[2], units.astype(np.float32)], axis=1)

  train, test = (with_sparse_units(split(400, i, noise=0.3), i) for i in range(2))
  result = result_of(context_of(monkeypatch, train, test, EXACT, None, sizes=(10,)), tmp_path)
  guess = mean(result, viewpoint.GUESS, "10/mean_absolute_error", "azimuth")
  assert mean(result, "features", "10/mean_absolute_error", "azimuth") < 1.1 * guess


def test_numbers_of_any_scale_count_alike(monkeypatch, tmp_path):
  """A block that says the angles in millionths, beside a large one of noise."""
  def mixed(part, seed):
    noise = 1e3 * np.random.default_rng(seed).normal(size=(len(part[2]), 2))
    return *part[:2], np.concatenate([1e-6 * part[2], noise.astype(np.float32)], axis=1)

  train, test = (mixed(split(400, i), i) for i in range(2))
  result = result_of(context_of(monkeypatch, train, test, EXACT, None, sizes=(100,)), tmp_path)
  assert mean(result, "features", "100/mean_absolute_error", "azimuth") < 2


def test_a_view_of_pdr_and_no_view_at_all(monkeypatch, tmp_path):
  def view(variables, pictures):
    angles = pictures[:, 0, :3, 0]
    return {"view": jnp.concatenate([angles[:, jnp.array([1, 0, 2])], angles], axis=1)}

  context = context_of(monkeypatch, split(40, 0), split(20, 1), EXACT, view, sizes=(20,))
  assert mean(result_of(context, tmp_path), viewpoint.LINE, "20/mean_absolute_error", "azimuth") < 1e-3
  context = context_of(monkeypatch, split(40, 0), split(20, 1), EXACT, None, sizes=(20,))
  result = result_of(context, tmp_path)
  assert {entry.block for entry in result.scores} == {"features", viewpoint.GUESS}


def test_the_full_circle(monkeypatch, tmp_path):
  """Azimuths backwards from another zero, and of every fifth picture front and back confused."""
  def azimuth(variables, pictures):
    said = 1.0 - pictures[:, 0, 0, 0]
    return {"azimuth": jnp.where(pictures[:, 0, 1, 0] > 0.24, said + jnp.pi, said)}

  train, test = (split(300, i, (np.pi, 0.4, 0.2)) for i in range(2))
  labels = {"azimuth_deg": lambda true: np.rad2deg(true[:, 0])}
  context = context_of(monkeypatch, train, test, labels, azimuth, sizes=(100,))
  result = result_of(context, tmp_path)
  assert result.protocol["full circle"] and result.protocol["labels"] == ["azimuth_deg"]

  def of(metric):
    return mean(result, viewpoint.LINE, f"100/{metric}", "azimuth")

  assert of("median_error") < 1e-2 and of("axis_error") < 1e-2
  reversed_share = (test[0][:, 1] > 0.24).mean()
  assert of("reversed") == pytest.approx(reversed_share)
  assert of("within_30") == pytest.approx(1 - reversed_share)
  assert score(result, viewpoint.LINE, "100/within_30", "azimuth").direction == "higher"
  assert mean(result, "features", "100/median_error", "azimuth") < 5


def test_the_lights_angles_are_no_viewpoint():
  azimuth = {"azimuth_deg": np.array([0.0, 10.0, 20.0]), "elevation_deg": np.array([1.0, 5.0, 2.0])}
  features, settings = Features({}, azimuth, {}), ConfigDict(viewpoint.defaults())
  light = ("azimuth_deg", "elevation_deg")
  assert viewpoint.labels_of(features, settings) == dict(zip(("azimuth", "elevation"), light, strict=True))
  assert viewpoint.labels_of(features, settings, light) == {}
  settings.azimuth = "azimuth_deg"
  assert viewpoint.labels_of(features, settings, light) == {"azimuth": "azimuth_deg"}


def test_what_it_cannot_do(monkeypatch):
  few = context_of(monkeypatch, split(8, 0), split(20, 1), EXACT, None)
  with pytest.raises(UserError, match="train has 8 pictures with azimuth, elevation, tilt"):
    next(iter(viewpoint.jobs(few)))[1]()
  none = context_of(monkeypatch, split(8, 0), split(20, 1), {"age": lambda true: true[:, 0]}, None)
  assert not list(viewpoint.jobs(none))
  wrong = context_of(monkeypatch, split(8, 0), split(20, 1), EXACT, None, azimuth="pan")
  with pytest.raises(UserError, match=r"config.viewpoint.azimuth = 'pan': the data has the labels view/0"):
    list(viewpoint.jobs(wrong))
