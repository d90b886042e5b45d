"""The depth of a model beside flat ones and a bound that learns.

It covers the share of the gap, and says what has no depth.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from support import memory_data, toy_encoder
from support.results import mean, metrics, through_json
from support.tolerances import rounding

from pdr_jax.config import base, variant
from pdr_jax.data import dataset, registry
from pdr_jax.errors import UserError
from pdr_jax.evaluation import batches, depth_bound
from pdr_jax.evaluation.config import get_config
from pdr_jax.evaluation.tasks import geometry as task
from pdr_jax.methods.pdr import depth_network
from pdr_jax.metrics import geometry

SIDE = 32


def bowls(count: int, seed: int) -> dict[str, np.ndarray]:
  """Pictures whose brightness is the depth of a bowl about a drawn centre.

  Beyond a disc there is no truth.
  """
  random = np.random.default_rng(seed)
  v, u = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
  centre = random.uniform(-0.4, 0.4, (2, count, 1, 1))
  depth = (0.92 + 0.06 * ((u - centre[0]) ** 2 + (v - centre[1]) ** 2)).astype(np.float32)
  mask = np.broadcast_to(u**2 + v**2 < 0.7, depth.shape).astype(np.float32)
  image = np.repeat(((depth - 0.9) * 1000).clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)
  return {"image": image, "depth": np.where(mask > 0, depth, np.inf).astype(np.float32), "mask": mask}


@pytest.fixture
def run(monkeypatch):
  config = variant(base(), "small")
  config.networks.update(width_map=8, zdim=16)
  config.train.batch_size = 8
  config.optim.learning_rate = 3e-3
  config.data.name = "toy.bowls"
  memory_data.install(monkeypatch, bowls(96, 0), bowls(12, 1))
  monkeypatch.setattr(registry, "find", lambda name: dataset.Source("", None))
  return config


def reading():
  """A method that reads the brightness as it is: its depth is true but for the steps of eight bits."""

  def decompose(variables, images):
    depth = (images[..., 0] + 1) * 127.5 / 1000 + 0.9
    return {"depth_at_view": depth, "mask": jnp.ones_like(depth)}

  representation = toy_encoder.representation(None, {"a": np.zeros(1, np.float32)}, SIDE)
  return representation._replace(method=representation.method._replace(decompose=decompose))


def test_the_model_stands_beside_flat_depths(run, tmp_path):
  settings = get_config().geometry
  settings.bound_steps = 0
  result = through_json(task.true_depth(run, reading(), "validation", settings), tmp_path)
  assert len(result.outcomes) == 3  # SIDE, MAD, and SIDE after one scale
  truth = bowls(12, 1)
  flat = geometry.baseline_scores(np.ones((SIDE, SIDE), np.float32), truth["depth"], truth["mask"])
  # means of 12 numbers, each the spread of logarithms
  assert mean(result, task.CONSTANT, "side") == pytest.approx(float(np.mean(flat["side"])), abs=rounding(6))
  assert mean(result, task.MODEL, "side") < 0.1 * mean(result, task.AVERAGE, "side")
  assert mean(result, task.MODEL, "side_x_100") == pytest.approx(100 * mean(result, task.MODEL, "side"))
  assert mean(result, task.MODEL, "depth_correlation") > 0.99
  assert metrics(result, task.CONSTANT) == {"side", "side_x_100", "mad", "relief"}
  assert task.BOUND not in {entry.block for entry in result.scores} and result.protocol["test"] == 12
  titles = {entry.metric for entry in result.scores if entry.headline}
  assert titles == {"side_x_100", "mad", "relief_scale", "side_x_100_scaled"}
  assert mean(result, task.MODEL, "relief_scale") == pytest.approx(1, abs=0.05)  # eight bits
  assert {entry.direction for entry in result.scores if entry.metric in ("side", "mad")} == {"lower"}


def test_a_method_without_a_depth_network_has_no_bound(run):
  result = task.true_depth(run, reading(), "validation", get_config().geometry)
  assert task.BOUND not in {entry.block for entry in result.scores} and task.BOUND not in result.protocol


@pytest.mark.slow
def test_the_bound_learns_and_is_scored_inside_the_mask(run):
  representation = reading()
  method = representation.method._replace(depth_network=depth_network.create(run))
  representation = representation._replace(method=method)
  split = batches.of_split(run, representation.reads, "validation", task.KEYS)
  settings = {"bound_steps": 60, "bound_every": 20, "bound_patience": 3}
  bound = depth_bound.train(run, representation, settings, lambda line: None)
  learned, _ = task.scores_of(task._of_bound(representation, bound.params), split, 10.0)
  constant, _ = task.scores_of(task._flat(np.ones((SIDE, SIDE), np.float32)), split, 10.0)
  assert learned["side"] < 0.5 * constant["side"] and learned["relief"] > 0.8, (learned, constant)


def test_share_of_the_gap():
  assert task.gap_closed(2.0, 1.0, 1.25) == pytest.approx(0.75)
  assert task.gap_closed(2.0, 1.0, 3.0) == pytest.approx(-1.0)
  assert task.gap_closed(1.0, 1.0, 0.5) is None


def test_a_method_without_depth_and_data_without_truth_are_named(run, monkeypatch):
  settings, representation = get_config().geometry, reading()
  nothing = representation._replace(method=representation.method._replace(decompose=None))
  with pytest.raises(UserError, match="it has no depth"):
    task.true_depth(run, nothing, "validation", settings)
  images = {"image": bowls(12, 1)["image"]}
  memory_data.install(monkeypatch, images, images)
  with pytest.raises(UserError, match="no true depth"):
    task.true_depth(run, representation, "validation", settings)


def test_landmarks_without_padding_and_each_predictor_with_its_own_score():
  random = np.random.default_rng(0)
  mask = np.array([1, 1, 1, 1, 1, 0], np.float32)
  zeros = {"image": np.zeros((6, 8, 8, 3), np.float32), "weights": np.zeros((6, 1), np.float32)}
  batch = {**zeros, "view": np.zeros((6, 6), np.float32), "_mask": mask}
  maps = random.normal(size=(6, 8, 8)).astype(np.float32)
  places = random.integers(0, 8, (6, 4, 2))
  true = np.stack([maps[k, places[k, :, 1], places[k, :, 0]] for k in range(6)])
  true[5] = 1e6 * random.normal(size=4)
  located = np.concatenate([places, true[..., None]], axis=-1, dtype=np.float32)
  predictors = {
    "right": lambda batch: (jnp.asarray(maps), None),
    "hollow": lambda batch: (jnp.asarray(-maps), None),
  }
  result = task.at_landmarks(lambda weights, view, side: located, [batch], predictors)
  # Correlations of five float32 numbers.
  scores = {name: value for name, (value, _) in result.items()}
  assert scores == {"right": pytest.approx(1, abs=1e-6), "hollow": pytest.approx(-1, abs=1e-6)}
  assert task.at_landmarks(None, [batch], predictors) == {}
