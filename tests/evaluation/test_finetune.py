"""Fine-tuning: encoders move and learn what the frozen ones could not.

Labels of the test split meet their pictures.
"""

import numpy as np
import pytest
from support import memory_data, toy_encoder
from support.results import mean

from pdr_jax.config import base
from pdr_jax.data import pipeline
from pdr_jax.errors import UserError
from pdr_jax.evaluation import batches, extract
from pdr_jax.evaluation.config import get_config
from pdr_jax.evaluation.task import Context
from pdr_jax.evaluation.tasks import finetune, linear

SIDE = 8
CLASSES = {"label/who": ("r", "g", "b"), "label/first": (), "label/last": ()}


def colours(count: int, seed: int) -> dict[str, np.ndarray]:
  """Pictures of one colour each; every tenth does not say who it is, whatever its label."""
  random = np.random.default_rng(seed)
  who = random.integers(0, 3, count).astype(np.int32)
  image = random.integers(0, 60, (count, SIDE, SIDE, 3)).astype(np.uint8)
  image[np.arange(count), :, :, who] += 120
  absent = np.arange(count) % 10 == 0
  return {
    "image": image,
    "label/who": np.where(absent, (who + 1) % 3, who).astype(np.int32),
    "missing/who": absent,
    "label/first": (who == 0).astype(np.int32),
    "label/last": (who == 2).astype(np.int32),
  }


@pytest.fixture
def run(monkeypatch):
  config = base()
  config.data.side, config.train.batch_size = SIDE, 8
  memory_data.install(monkeypatch, colours(96, 0), colours(30, 1), CLASSES)
  monkeypatch.setattr(finetune, "LEARNING_RATE", 0.05)
  return config


def source():
  """A representation to which every picture is the same."""
  variables = toy_encoder.colour_variables(np.random.default_rng(0))
  return toy_encoder.representation(toy_encoder.colour, variables, SIDE)


def read(run, representation, split):
  result = batches.of_split(run, representation.reads, split)
  return extract.extract(representation.encode, result, pipeline.describe(run).classes)


def context(run, representation, train, test, steps):
  config = get_config()
  config.seeds, config.finetune.steps = 1, steps
  splits = (train, test, "validation", {})
  return Context(config, config.finetune, run, representation, *splits, say=lambda line: None)


@pytest.mark.parametrize("labels", [["who"], ["first", "last"]])
def test_encoders_learn_what_frozen_ones_do_not_show(run, labels):
  representation = source()
  train, test = (read(run, representation, split) for split in ("train", "validation"))
  result = finetune.finetune(context(run, representation, train, test, steps=60), labels)
  accuracy = mean(result, "all", "finetuned/accuracy")
  assert accuracy > 0.95 > mean(result, linear.MAJORITY, "accuracy") + 0.2, result
  assert result.protocol["test"] == (27 if labels == ["who"] else 30)
  assert np.abs(representation.variables["net"]["w"]).max() == 0  # the run's own parameters stay


def test_what_is_no_parameter_stays(run):
  """Batch statistics and codebooks are not trained, although the loss depends on them."""
  layer = finetune.Layer(("who",), inputs=4, outputs=3, exclusive=True)
  params = finetune.fit(run, source(), layer, count=5, seed=0, say=lambda line: None)
  assert np.abs(params["networks"]["net"]["w"]).max() > 0.01
  np.testing.assert_array_equal(params["networks"]["model_state"]["seen"], 0)


def test_labels_are_checked(run):
  representation = source()
  part = read(run, representation, "validation")
  part = context(run, representation, part, part, steps=60)
  with pytest.raises(UserError, match="'who' has more than two classes"):
    finetune.finetune(part, ["first", "who"])
  with pytest.raises(UserError, match="no label 'age'"):
    finetune.finetune(part, ["age"])
