"""The supervised bound learns the depth that pictures show; the share of the gap is the closed form; what has no depth is said."""

import numpy as np
import pytest

from pdr_jax import methods
from pdr_jax.config import base, variant
from pdr_jax.data import dataset, pipeline
from pdr_jax.errors import UserError
from pdr_jax.evaluation import true_depth
from pdr_jax.evaluation.config import get_config
from pdr_jax.evaluation.sources import Source

SIDE = 32


def bowls(count: int, seed: int) -> dict[str, np.ndarray]:
  """Pictures whose brightness is the depth of a bowl about a drawn centre; beyond a disc there is no truth."""
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
  splits = [dataset.memory_split(bowls(count, seed)) for seed, count in enumerate((96, 12))]
  data = dataset.Dataset("bowls", *splits, has_truth=True, classes={}, skipped=[])
  monkeypatch.setattr(pipeline, "open_dataset", lambda config: data)
  return config


def test_the_bound_learns_and_is_scored_inside_the_mask(run):
  batches = pipeline.validation_batches(run)
  untrained, trained = (true_depth.score(run, true_depth.train(run, count, lambda line: None), batches) for count in (1, 60))
  truth = bowls(12, 1)
  constant = geometry.baseline_scores(np.ones((SIDE, SIDE), np.float32), truth["depth"], truth["mask"])
  side = float(np.mean(constant["side"]))
  assert trained["val/side"] < 0.5 * side < untrained["val/side"] * 2 and trained["val/relief"] > 0.8, (trained, untrained, side)
  assert trained["val/covered"] == 1.0


def test_share_of_the_gap():
  assert true_depth.gap_closed(2.0, 1.0, 1.25) == pytest.approx(0.75)
  assert true_depth.gap_closed(2.0, 1.0, 3.0) == pytest.approx(-1.0)
  assert true_depth.gap_closed(1.0, 1.0, 0.5) is None


def test_a_method_without_depth_and_data_without_truth_are_named(run, monkeypatch):
  settings = get_config().geometry
  run.method = "vae"
  with pytest.raises(UserError, match="it has no depth"):
    true_depth.true_depth(run, Source("trained", None, methods.create(run), {}), "validation", settings)
  data = pipeline.open_dataset(run)._replace(has_truth=False)
  monkeypatch.setattr(pipeline, "open_dataset", lambda config: data)
  with pytest.raises(UserError, match="no true depth"):
    true_depth.true_depth(run, Source("trained", None, methods.create(run), {}), "validation", settings)
