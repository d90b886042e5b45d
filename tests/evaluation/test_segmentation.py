"""Segmentation: a U-Net on whatever maps a method gives learns what it can see.

It is frozen where it must be.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import memory_data, toy_encoder
from support.results import mean, through_json

from pdr_jax.config import base
from pdr_jax.errors import UserError
from pdr_jax.evaluation import batches
from pdr_jax.evaluation.config import get_config
from pdr_jax.evaluation.probes import descent, unet
from pdr_jax.evaluation.tasks import segmentation

SIDE, CLASSES = 16, 3
NAMES = {"segmentation": ("ground", "left", "right")}
GREY = toy_encoder.reads(SIDE, 1)


def discs(count: int, seed: int) -> dict[str, np.ndarray]:
  """Bright discs (class 1) with a dark half (class 2) on grey; a corner that nobody named."""
  random = np.random.default_rng(seed)
  v, u = np.mgrid[:SIDE, :SIDE]
  centre = random.uniform(5, 11, (2, count, 1, 1))
  inside = (u - centre[0]) ** 2 + (v - centre[1]) ** 2 < 16
  truth = inside * (1 + (u > centre[0]))
  noise = random.integers(0, 20, (count, SIDE, SIDE, 1)).astype(np.uint8)
  image = np.array([128, 230, 20], np.uint8)[truth][..., None] + noise
  truth = truth.astype(np.uint8)
  truth[:, :2, :2] = segmentation.IGNORED
  return {"image": image, "segmentation": truth}


@pytest.fixture
def run(monkeypatch):
  config = base()
  config.data.update(side=SIDE, channels=1)
  config.train.batch_size = 8
  memory_data.install(monkeypatch, discs(64, 0), discs(12, 1), NAMES)
  return config


def source():
  """Grey pictures, two encoders with maps of six channels at sides 8 and 4."""

  def fresh(rng):
    return toy_encoder.map_variables(rng, 1)

  variables = jax.device_get(fresh(jax.random.key(3)))
  return toy_encoder.representation(
    None, variables, SIDE, feature_maps=toy_encoder.maps, fresh=fresh, channels=1
  )


def settings(steps: int, *starts: str):
  section = get_config().segmentation
  section.update(steps=steps, starts=starts)
  return section


def choice(encoders: str, start: str) -> segmentation.Choice:
  return segmentation.Choice(tuple(encoders), start, CLASSES)


def test_it_learns_what_it_sees(run, monkeypatch, tmp_path):
  monkeypatch.setattr(segmentation, "LEARNING_RATE", 1e-2)
  monkeypatch.setattr(segmentation, "subsets", lambda encoders: [tuple(encoders)])
  learned, train = [], segmentation.train
  monkeypatch.setattr(
    segmentation, "train", lambda *arguments: learned.append(train(*arguments)) or learned[-1]
  )
  representation = source()
  asked = settings(120, "finetuned")
  result = segmentation.segmentation(
    run, representation, "validation", asked, seeds=[0], say=lambda line: None
  )
  result = through_json(result, tmp_path)
  assert [given.values.shape for given in result.outcomes.values()] == [(1, 2 * CLASSES, 12)]
  miou, iou = mean(result, "a+b", "finetuned/miou"), result.details["iou"]["a+b finetuned"]
  assert miou > 0.6, result
  assert set(iou) == {"ground", "left", "right"} and result.protocol["test"] == 12
  assert miou == pytest.approx(np.mean(list(iou.values())))
  assert {entry.headline for entry in result.scores} == {"", "segmentation, finetuned, mIoU"}
  encoders = learned[0]["encoders"]
  assert np.abs(encoders["a"] - representation.variables["a"]).max() > 0.01
  np.testing.assert_array_equal(encoders["model_state"]["seen"], 0)  # it is no parameter


@pytest.mark.slow
def test_frozen_encoders_stay_and_unnamed_pixels_do_not_count(run):
  representation = source()
  learned_params = segmentation.train(run, representation, choice("ab", "frozen"), 2, 0, lambda line: None)
  jax.tree.map(np.testing.assert_array_equal, learned_params["encoders"], representation.variables)
  batch = discs(4, 3)
  images = jnp.asarray(batch["image"] / np.float32(127.5) - 1, jnp.float32)
  logits = unet.apply(learned_params, representation.method, ["a", "b"], images, CLASSES)
  total, count = segmentation.cross_entropy(logits, batch["segmentation"])
  exact = np.asarray(logits, np.float64)
  chosen = np.minimum(batch["segmentation"], 2)[..., None].astype(np.int64)
  losses = np.log(np.exp(exact).sum(-1)) - np.take_along_axis(exact, chosen, -1)[..., 0]
  known = batch["segmentation"] != segmentation.IGNORED
  assert float(count) == known.sum() == 4 * (SIDE**2 - 4)
  assert float(total) == pytest.approx(losses[known].sum(), rel=1e-5)  # float32 sums of a thousand terms


@pytest.mark.slow
def test_from_scratch_means_other_encoders(run):
  representation = source()
  fresh = segmentation.train(run, representation, choice("a", "scratch"), 1, 0, lambda line: None)
  other = segmentation.train(run, representation, choice("a", "scratch"), 1, 1, lambda line: None)
  first = representation.variables["a"]
  assert np.abs(fresh["encoders"]["a"] - first).max() > 0.1 < np.abs(other["encoders"]["a"] - first).max()
  assert np.abs(fresh["encoders"]["a"] - other["encoders"]["a"]).max() > 0.1


@pytest.mark.parametrize("side", [12, 14, 28])
def test_maps_of_any_side_and_width_lead_back_to_the_picture(side):
  """Halving, one that does not, and odd widths."""

  def maps(variables, images):
    fine = images[:, ::2, ::2] * variables["a"][None, None, None]
    return {"a": [jnp.repeat(fine, 5, axis=-1), fine[:, ::3, ::3], fine.mean(axis=(1, 2))]}

  representation = toy_encoder.representation(None, {"a": np.ones(3, np.float32)}, side, feature_maps=maps)
  images = jnp.zeros((2, side, side, 3))
  arguments = representation.method, representation.variables, ["a"], CLASSES, images
  params = jax.eval_shape(lambda rng: unet.init(rng, *arguments), jax.random.key(0))
  logits = jax.eval_shape(lambda params: unet.apply(params, arguments[0], ["a"], images, CLASSES), params)
  assert logits.shape == (2, side, side, CLASSES)


def test_what_cannot_be_segmented_is_said(run, monkeypatch):
  representation = source()
  nothing = representation._replace(name="pca", method=None, variables=None)
  with pytest.raises(UserError, match="pca features come from no feature maps"):
    segmentation.segmentation(run, nothing, "validation", settings(1, "frozen"), seeds=[0])
  with pytest.raises(UserError, match="'warm' is unknown; choose from scratch"):
    segmentation.segmentation(run, representation, "validation", settings(1, "warm"), seeds=[0])
  images = {"image": discs(8, 0)["image"]}
  memory_data.install(monkeypatch, images, images)
  with pytest.raises(UserError, match="the data has no maps of classes"):
    segmentation.segmentation(run, representation, "validation", settings(1, "frozen"), seeds=[0])


def test_descent_over_devices_is_descent_over_the_whole_batch(run):
  """The mean of a device's share must not count more than another's where their counts differ.

  There are four devices.
  """

  def objective(params, batch):
    weight = (batch["segmentation"] > 0).astype(jnp.float32)
    return (weight * (params["a"] - batch["image"][..., 0]) ** 2).sum(), weight.sum()

  def shuffled():
    return batches.for_training(run, GREY, ["segmentation"])

  result = descent.minimise(objective, {"a": jnp.zeros(())}, shuffled(), optax.sgd(0.1), 1)
  batch = next(shuffled())
  weight = batch["segmentation"] > 0
  expected = 0.1 * 2 * batch["image"][..., 0][weight].mean(dtype=np.float64)
  assert float(result["a"]) == pytest.approx(
    expected, rel=1e-4, abs=1e-5
  )  # float32 sums of 2,000 terms of at most 1
