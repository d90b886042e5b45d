"""Segmentation: the confusion matrix and its scores against scikit-learn; a U-Net that learns what it can see, frozen where it must be."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from pdr_jax.config import base
from pdr_jax.data import dataset, pipeline
from pdr_jax.errors import UserError
from pdr_jax.evaluation import metrics, segmentation, unet
from pdr_jax.evaluation.config import get_config
from pdr_jax.evaluation.sources import Source
from pdr_jax.networks.autoencoder import MapEncoder

SIDE, CLASSES = 32, 3


def test_scores_of_summed_batches_against_scikit_learn():
  random = np.random.default_rng(0)
  truth, found = random.integers(-1, 5, (6, 8, 8)), random.integers(0, 5, (6, 8, 8))
  truth[truth == 3] = 2  # class 3 is never there, but called
  counts = sum(metrics.confusion(truth[i : i + 2], found[i : i + 2], 5) for i in (0, 2, 4))
  known = truth >= 0
  np.testing.assert_array_equal(counts, confusion_matrix(truth[known], found[known], labels=range(5)))
  scores = metrics.segmentation(counts)
  expected = jaccard_score(truth[known], found[known], labels=[0, 1, 2, 4], average=None)
  np.testing.assert_allclose([scores["iou"][k] for k in (0, 1, 2, 4)], expected)
  assert scores["iou"][3] is None and scores["miou"] == pytest.approx(expected.mean())
  assert scores["pixel_accuracy"] == pytest.approx(np.mean(truth[known] == found[known]))


def encoder(width: int, seed: int) -> dict:
  init = jax.jit(MapEncoder(width, 8, SIDE).init, compiler_options={"xla_backend_optimization_level": 0})
  return init(jax.random.key(seed), jnp.zeros((1, SIDE, SIDE, 3)))["params"]


def discs(count: int, seed: int) -> dict[str, np.ndarray]:
  """Bright discs (class 1) with a dark half (class 2) on grey; a corner that nobody named."""
  random = np.random.default_rng(seed)
  v, u = np.mgrid[:SIDE, :SIDE]
  centre = random.uniform(10, 22, (2, count, 1, 1))
  inside = (u - centre[0]) ** 2 + (v - centre[1]) ** 2 < 64
  truth = inside * (1 + (u > centre[0]))
  image = np.array([128, 230, 20], np.uint8)[truth][..., None] + random.integers(0, 20, (count, SIDE, SIDE, 3)).astype(np.uint8)
  truth = truth.astype(np.uint8)
  truth[:, :2, :2] = segmentation.IGNORED
  return {"image": image, "segmentation": truth}


@pytest.fixture
def run(monkeypatch):
  config = base()
  config.data.side, config.train.batch_size = SIDE, 8
  splits = [dataset.memory_split(discs(count, seed)) for seed, count in enumerate((64, 12))]
  data = dataset.Dataset("discs", *splits, has_truth=False, classes={"segmentation": ("ground", "left", "right")}, skipped=[])
  monkeypatch.setattr(pipeline, "open_dataset", lambda config: data)
  return config


def test_stages_are_the_encoders_own():
  params = encoder(4, 0)
  images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, SIDE, SIDE, 3)), jnp.float32)
  stages, z = unet.stages(unet.encoder_of(params, SIDE), params, images)
  assert [stage.shape[1:] for stage in stages] == [(16, 16, 4), (8, 8, 8), (4, 4, 16)]
  kernel = params["bottleneck"]["kernel"]
  np.testing.assert_allclose(z, jax.nn.relu(stages[-1].reshape(2, -1) @ kernel.reshape(-1, 8)), atol=1e-5)


def test_it_learns_what_it_sees(run, monkeypatch):
  monkeypatch.setattr(segmentation, "LEARNING_RATE", 5e-3)
  learned, train = [], segmentation.train
  monkeypatch.setattr(segmentation, "train", lambda *arguments: learned.append(train(*arguments)) or learned[-1])
  settings = get_config().segmentation
  settings.update(steps=120, starts=("finetuned",))
  source = Source("trained", None, params={"encoder": encoder(8, 0)})
  found = segmentation.segmentation(run, source, "validation", settings, seeds=[0], say=lambda line: None)
  row = found["results"]["encoder finetuned"]
  assert row["scores"]["miou"]["mean"] > 0.6, row
  assert set(row["labels"]) == {"ground", "left", "right"} and found["protocol"]["test"] == 12
  assert row["scores"]["miou"]["mean"] == pytest.approx(np.mean([entry["iou"]["mean"] for entry in row["labels"].values()]))
  moved = learned[0]["encoders"]["encoder"]["down0"]["kernel"] - source.params["encoder"]["down0"]["kernel"]
  assert np.abs(moved).max() > 0.01


def test_frozen_encoders_stay_and_unnamed_pixels_do_not_count(run):
  start = {"depth": encoder(4, 0), "albedo": encoder(4, 1)}
  kept = segmentation.train(run, start, CLASSES, "frozen", 2, 0, lambda line: None)
  jax.tree.map(np.testing.assert_array_equal, kept["encoders"], jax.device_get(start))
  batch = {name: jnp.asarray(value[:4]) for name, value in discs(4, 3).items()} | {"image": jnp.zeros((4, SIDE, SIDE, 3))}
  total, count = segmentation.cross_entropy(kept, batch, CLASSES, False)
  logits = np.asarray(unet.apply(kept, batch["image"], CLASSES), np.float64)
  losses = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, np.minimum(batch["segmentation"], 2)[..., None], -1)[..., 0]
  known = np.asarray(batch["segmentation"]) != segmentation.IGNORED
  assert float(count) == known.sum() == 4 * (SIDE**2 - 4) and float(total) == pytest.approx(losses[known].sum(), rel=1e-4)


def test_what_cannot_be_segmented_is_said(run):
  settings = get_config().segmentation
  with pytest.raises(UserError, match="pca features come from no map encoder"):
    segmentation.segmentation(run, Source("pca", None), "validation", settings, seeds=[0])
  settings.starts = ("warm",)
  with pytest.raises(UserError, match="'warm' is unknown; choose from scratch"):
    segmentation.segmentation(run, Source("trained", None, params={"encoder": encoder(4, 0)}), "validation", settings, seeds=[0])


def test_descent_over_devices_is_descent_over_the_whole_batch(run):
  """Four devices: the mean of a device's share must not count more than another's where their counts differ."""
  from pdr_jax.evaluation import descent

  def objective(params, batch):
    weight = (batch["segmentation"] > 0).astype(jnp.float32)
    return (weight * (params["a"] - batch["image"][..., 0]) ** 2).sum(), weight.sum()

  found = descent.minimise(objective, {"a": jnp.zeros(())}, pipeline.train_iterator(run, image_only=False), optax.sgd(0.1), 1)
  batch = next(pipeline.train_iterator(run, image_only=False))
  weight = batch["segmentation"] > 0
  assert float(found["a"]) == pytest.approx(0.1 * 2 * batch["image"][..., 0][weight].mean(), rel=1e-4)
