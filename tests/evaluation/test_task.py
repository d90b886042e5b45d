"""Which labels of a data set become tasks."""

import numpy as np

from pdr_jax.evaluation.config import get_config
from pdr_jax.evaluation.features import Features
from pdr_jax.evaluation.jobs import Context


def context(known, **asked):
  config = get_config()
  config.update(asked)
  train = Features({"depth": np.zeros((6, 2), np.float32)}, {name: np.array(values) for name, values in known.items()}, {})
  return Context(config, None, None, train, train, "test", {}, print)


LABELS = {"smiling": [0, 1, 0, 1, -1, 1], "bald": [0, 0, 0, 0, 1, -1], "always": [1] * 6, "emotion": [0, 1, 2, 0, 1, 1],
          "identity": [0, 0, 1, 1, 2, 2], "depth_mode": np.linspace(0, 1, 6)}


def test_attributes_that_nothing_can_be_learned_from_are_left_out():
  assert context(LABELS).labels(binary=True) == ["smiling"]


def test_a_rare_class_stays_for_its_task_to_name_it():
  assert context(LABELS).labels(binary=False) == ["emotion"]  # one example of class 2


def test_labels_that_were_asked_for_stay():
  assert context(LABELS, labels=("bald", "emotion", "unknown")).labels(binary=True) == ["bald", "unknown"]
