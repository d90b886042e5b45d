"""Fine-tuning: encoders move and learn what the frozen ones could not; the labels of the test split meet their own pictures."""

import jax.numpy as jnp
import numpy as np
import pytest

from pdr_jax.config import base
from pdr_jax.data import dataset, pipeline
from pdr_jax.errors import UserError
from pdr_jax.evaluation import extract, finetune
from pdr_jax.evaluation.config import get_config
from pdr_jax.evaluation.sources import Source
from pdr_jax.methods import Method

SIDE = 32


def system() -> Method:
  """A linear encoder of the mean colour, behind a ReLU."""
  encode = lambda params, images: {"z": jnp.maximum(images.mean(axis=(1, 2)) @ params["w"] + params["b"][None], 0.0)}
  return Method(None, None, None, None, encode, None, None)


def colours(count: int, seed: int) -> dict[str, np.ndarray]:
  random = np.random.default_rng(seed)
  who = random.integers(0, 3, count).astype(np.int32)
  image = random.integers(0, 60, (count, SIDE, SIDE, 3)).astype(np.uint8)
  image[np.arange(count), :, :, who] += 120
  missing = np.where(np.arange(count) % 10 == 0, -1, who).astype(np.int32)
  return {"image": image, "label/who": missing, "label/first": (who == 0).astype(np.int32), "label/last": (who == 2).astype(np.int32)}


@pytest.fixture
def run(monkeypatch):
  config = base()
  config.data.side, config.train.batch_size = SIDE, 8
  splits = [dataset.memory_split(colours(count, seed)) for seed, count in enumerate((96, 30))]
  classes = {"label/who": ("r", "g", "b"), "label/first": (), "label/last": ()}
  data = dataset.Dataset("colours", *splits, has_truth=False, classes=classes, skipped=[])
  monkeypatch.setattr(pipeline, "open_dataset", lambda config: data)
  monkeypatch.setattr(finetune, "LEARNING_RATE", 0.05)
  return config


@pytest.mark.parametrize("labels", [["who"], ["first", "last"]])
def test_encoders_learn_what_frozen_ones_do_not_show(run, labels):
  random = np.random.default_rng(0)
  params = {"w": np.zeros((3, 4), np.float32), "b": random.uniform(0.1, 1, 4).astype(np.float32)}  # every picture has the same features
  source = Source("trained", lambda images: system().encode(params, images), system(), params)
  read = lambda split: extract.extract(source.encode, pipeline.validation_batches(run, split=split), pipeline.describe(run).classes)
  train, test = read("train"), read("validation")
  settings = get_config().finetune
  settings.steps = 60
  found = finetune.finetune(run, source, train, test, "validation", labels, settings, seeds=[0], say=lambda line: None)
  accuracy = found["results"]["all"]["finetuned"]["scores"]["accuracy"]["mean"]
  assert accuracy > 0.95 > found["majority"] + 0.2, found
  assert found["protocol"]["test"] == (27 if labels == ["who"] else 30)
  assert np.abs(params["w"]).max() == 0  # the run's own parameters stay


def test_labels_are_checked(run):
  params = {"w": np.ones((3, 4), np.float32), "b": np.zeros(4, np.float32)}
  source = Source("trained", lambda images: system().encode(params, images), system(), params)
  part = extract.extract(source.encode, pipeline.validation_batches(run), pipeline.describe(run).classes)
  with pytest.raises(UserError, match="'who' has more than two classes"):
    finetune.finetune(run, source, part, part, "validation", ["first", "who"], get_config().finetune, seeds=[0])
  with pytest.raises(UserError, match="no label 'age'"):
    finetune.finetune(run, source, part, part, "validation", ["age"], get_config().finetune, seeds=[0])
