"""The light probe at each validation."""

import numpy as np
import pytest

from pdr_jax.config import base
from pdr_jax.errors import UserError
from pdr_jax.methods import Method
from pdr_jax.training import light_probe, loop
from pdr_jax.training.metric_log import read_metrics


def config(**train):
  run = base("support.toy_clips")
  run.data.update(name="support.toy_source", train_examples=64, val_examples=24)
  cadence = dict(batch_size=8, steps=4, validate_every=2, checkpoint_every=2, figure_every=0)
  run.train.update(cadence | dict(gradient_norms_every=0, probe_examples=40) | train)
  return run


def test_examples_are_chosen_by_the_seed_and_have_their_labels():
  first = light_probe.read(config(), "train", 40)
  assert first.inputs.shape == (40, 3, 12, 12, 3) and first.inputs.dtype == np.float32
  assert first.inputs.min() >= -1 and first.inputs.max() <= 1
  assert set(np.unique(first.labels["kind"])) == {0, 1, 2, 3}
  other = config()
  other.seed = 1
  assert (light_probe.read(other, "train", 40).inputs != first.inputs).any()
  # The quadrant of the bright square is its class: the label belongs to the picture.
  frame = first.inputs[:, 0].mean(axis=-1)
  quadrants = [frame[:, y : y + 6, x : x + 6].mean(axis=(1, 2)) for y in (0, 6) for x in (0, 6)]
  assert (np.argmax(quadrants, axis=0) == first.labels["kind"]).all()


def test_it_is_in_every_validation_and_changes_nothing_else(tmp_path):
  loop.train(config(), str(tmp_path / "with"))
  loop.train(config(probe_examples=0), str(tmp_path / "without"))
  lines = [read_metrics(str(tmp_path / name)) for name in ("with", "without")]
  probed = [line["val/probe"] for line in lines[0] if "val/probe" in line]
  assert len(probed) == 2 and all(0 <= value <= 1 for value in probed)
  for line in (*lines[0], *lines[1]):
    for name in [name for name in line if name == "val/probe" or name.startswith("speed")]:
      del line[name]
  assert lines[0] == lines[1]


def test_known_features_are_read_and_unknown_people_are_not():
  kinds = np.arange(40) % 4
  features = np.eye(4, dtype=np.float32)[kinds]
  assert light_probe._score(features, kinds, features, kinds) == 1.0
  assert light_probe._score(features, kinds, features, np.roll(kinds, 1)) == 0.0
  some = np.where(kinds == 3, -1, kinds)  # missing in train: not asked for in test
  assert light_probe._score(features, some, features, kinds) == 1.0
  assert not light_probe._can_be_probed(kinds, kinds + 4)


def test_what_cannot_be_probed_is_one_line():
  without = Method(init=None, update=None, validate=None, encode=None)
  assert light_probe.create(config(probe_examples=0), without) is None
  with pytest.raises(UserError, match="probe_examples = 40: the method has no features; set it to 0"):
    light_probe.create(config(), without)
