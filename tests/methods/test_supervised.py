"""The supervised ceiling: its loss in float64, missing labels, what it takes from the data, and what every
baseline must satisfy."""

import jax
import numpy as np
import pytest
from support import memory_data
from support.baseline_checks import (
  B,
  compiled,
  examples,
  four_devices_equal_one,
  fresh,
  losses_of_overfit,
  tiny,
  trains_and_resumes,
  validation_ignores_padding,
)
from support.tolerances import rounding

from pdr_jax import elements, methods
from pdr_jax.config_checks import validate
from pdr_jax.data import class_counts, pipeline
from pdr_jax.errors import UserError
from pdr_jax.methods import supervised
from pdr_jax.training import loop, run_dir

LABELS = {"half": slice(0, 2), "brightest": slice(2, 5)}  # and their logits


@pytest.fixture(scope="module")
def method():
  return methods.create(tiny("supervised"))


encode = compiled(methods.create(tiny("supervised")).encode)


def naive(params, batch):
  """`(cross-entropy, whether the most likely class is right)` of every label that is given, in float64."""
  head = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["head"])
  logits = np.asarray(encode(params, batch["image"])["backbone"], np.float64) @ head["kernel"] + head["bias"]
  losses, right = [], []
  for row in range(len(batch["image"])):
    for name, part in LABELS.items():
      if name == "brightest" and batch["missing/brightest"][row]:
        continue
      shares = np.exp(logits[row, part]) / np.exp(logits[row, part]).sum()
      losses.append(-np.log(shares[batch[f"label/{name}"][row]]))
      right.append(shares.argmax() == batch[f"label/{name}"][row])
  return np.array(losses), np.array(right)


OFF = rounding(100)  # five layers of sums of up to 512 products, in another program; logits of about one


def test_loss_is_the_mean_cross_entropy_of_given_labels(method):
  state, update = fresh(method)
  _, metrics = update(state, examples(), jax.random.key(0))
  losses, _ = naive(state.params, examples())
  assert len(losses) == 2 * B - 2
  np.testing.assert_allclose(metrics["loss"][0] / metrics["loss"][1], losses.mean(), rtol=0, atol=OFF)


def test_a_missing_label_teaches_nothing(method):
  """Whatever stands in its place; where all are missing, nothing changes at all."""
  state, update = fresh(method)
  batch = examples()
  other = batch | {"label/brightest": np.where(batch["missing/brightest"], 1, batch["label/brightest"])}
  first, second = (update(state, values, jax.random.key(0))[0] for values in (batch, other))
  jax.tree.map(np.testing.assert_array_equal, first, second)
  nobody = np.ones(B, bool)
  none = batch | {"missing/brightest": nobody}
  changed = none | {"label/brightest": np.zeros(B, np.int32)}
  first, second = (update(state, values, jax.random.key(0)) for values in (none, changed))
  jax.tree.map(np.testing.assert_array_equal, first, second)
  losses, _ = naive(state.params, none)
  assert len(losses) == B
  np.testing.assert_allclose(first[1]["loss"][0] / first[1]["loss"][1], losses.mean(), rtol=0, atol=OFF)


def test_validation_ignores_padding_and_counts_given_labels(method):
  state, scores = validation_ignores_padding(method, counted=5)  # of three pictures; one lacks a label
  losses, right = naive(state.ema, {key: value[:3] for key, value in examples().items()})
  np.testing.assert_allclose(scores["val/cross_entropy"][0], losses.sum(), rtol=0, atol=5 * OFF)
  assert float(scores["val/accuracy"][0]) == right.sum()


def test_majority_is_the_most_frequent_class(method):
  batches = [examples(seed) | {"_mask": (np.arange(B) < 5).astype(np.float32)} for seed in range(3)]
  right = given = 0
  for name in LABELS:
    values = [
      int(batch[f"label/{name}"][row])
      for batch in batches
      for row in range(5)
      if not (name == "brightest" and batch["missing/brightest"][row])
    ]
    right += max(values.count(value) for value in values)
    given += len(values)
  assert method.baselines(batches, lambda sums: sums) == {"majority": {"val/accuracy": right / given}}


def test_classes_that_training_lacks_are_wrong_for_the_majority_too():
  """Always saying 0 is right of two labels in four; 5 is not of the two classes. By hand."""
  batch = {"label/mood": np.array([0, 0, 1, 5, 5, 5]), "_mask": np.array([1.0, 1, 1, 1, 0, 0])}
  config = methods_config(labels=("mood",), classes=(2,))
  for mask, right in ((batch["_mask"], 2 / 4), (np.ones(6), 2 / 6)):  # of all six, 5 is the most frequent
    found = supervised.baselines([batch | {"_mask": mask}], lambda sums: sums, config=config)
    assert found == {"majority": {"val/accuracy": right}}


def test_four_devices_equal_one(method):
  """Missing labels lie on two devices, so that their means are of other numbers."""
  four_devices_equal_one(method)


def test_loss_falls(method):
  seen = losses_of_overfit(method, 40)["loss"]
  assert np.isfinite(seen).all() and np.mean(seen[-5:]) < 0.5 * seen[0]


def test_labels_and_classes_come_from_the_data():
  config, classes = tiny("supervised"), {"identity": 90, "mood": 3, "age": 0, "hat": 2, "bald": 1}
  config.supervised.update(labels=(), classes=())
  assert supervised.chosen_labels(config, classes) == ("mood", "hat")
  config.supervised.labels = ("hat", "identity", "mood")
  assert supervised.counted_classes(config, classes) == (2, 90, 3)
  for name, message in (("nose", "mood, hat"), ("age", "numbers"), ("bald", "single class")):
    config.supervised.labels = (name,)
    with pytest.raises(UserError, match=message):
      supervised.counted_classes(config, classes)
  with pytest.raises(UserError, match="no label of classes"):
    supervised.chosen_labels(config, {"age": 0})
  with pytest.raises(UserError, match=r"supervised\.labels"):
    methods.create(methods_config(labels=()))
  with pytest.raises(UserError, match="as many as"):
    validate(methods_config(classes=(2,)), 4)


def methods_config(**changes):
  config = tiny("supervised")
  config.supervised.update(changes)
  return config


def stored(seed, count):
  """As a source holds them, with one label of numbers and an identity."""
  arrays = examples(seed, count)
  pictures = np.round(255 * (arrays["image"] + 1) / 2).astype(np.uint8)
  more = {"label/identity": np.arange(count, dtype=np.int32), "label/age": np.arange(count, dtype=np.float64)}
  return arrays | more | {"image": pictures}


def test_classes_are_counted_in_the_training_split(monkeypatch):
  """As many as are named, or as the largest value that is not missing needs; 0 for numbers."""
  train, test = stored(0, 20), stored(1, 8)
  train["label/brightest"] = np.where(train["missing/brightest"], 7, train["label/brightest"])
  test["label/half"] = test["label/half"] + 3
  config = tiny("supervised")
  memory_data.install(monkeypatch, train, test)
  assert class_counts.of(config) == {"half": 2, "brightest": 3, "identity": 20, "age": 0}
  memory_data.install(monkeypatch, train, test, {"label/half": ("left", "right", "both")})
  assert class_counts.of(config)["half"] == 3
  spec = supervised.reads(config)
  batch = next(pipeline.train_iterator(config, spec))
  assert set(batch) == set(spec) - {"missing/half"}  # nobody lacks it
  elements.check(pipeline.published(config, spec), {"image": spec["image"]}, "it")
  with pytest.raises(UserError, match="label/nose"):
    pipeline.published(config, {"label/nose": spec["label/half"]})


@pytest.mark.slow
def test_a_run_records_what_it_took_from_its_data_and_goes_on(monkeypatch, tmp_path):
  memory_data.install(monkeypatch, stored(0, 24), stored(1, 12))
  config = methods_config(labels=(), classes=())
  config.optim.schedule = "constant"
  workdir = str(tmp_path / "run")
  for steps in (2, 4):
    config.train.steps = steps
    assert loop.train(config, workdir).exit_code == 0
  kept = run_dir.read_config(workdir).supervised
  assert (tuple(kept.labels), tuple(kept.classes)) == (("half", "brightest"), (2, 3))
  config.supervised.labels = ("half",)
  with pytest.raises(UserError, match="another configuration"):
    loop.train(config, workdir)


@pytest.mark.slow
def test_trains_and_resumes(method, tmp_path):
  trains_and_resumes(tiny("supervised"), method, tmp_path)
