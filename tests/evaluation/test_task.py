"""How tasks are found, and which labels of a data set become theirs."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.evaluation import task
from pdr_jax.evaluation.config import get_config
from pdr_jax.evaluation.features import Features
from pdr_jax.evaluation.task import Context


def context(known, missing=None, **asked):
  config = get_config()
  config.update(asked)
  labels = {name: np.array(values) for name, values in known.items()}
  train = Features({"depth": np.zeros((6, 2), np.float32)}, labels, {}, missing or {})
  return Context(config, config, None, None, train, train, "test", {}, print)


LABELS = {
  "smiling": [0, 1, 0, 1, 7, 1],
  "bald": [0, 0, 0, 0, 1, 7],
  "always": [1] * 6,
  "emotion": [0, 1, 2, 0, 1, 1],
  "identity": [0, 0, 1, 1, 2, 2],
  "age": np.linspace(0, 1, 6),
  "light/0": np.linspace(0, 1, 6),
  "zero": np.zeros(6),
}
MISSING = {"smiling": np.arange(6) == 4, "bald": np.arange(6) == 5}


def test_attributes_that_nothing_can_be_learned_from_are_left_out():
  assert task.attributes(context(LABELS, MISSING)) == ["smiling"]


def test_a_rare_class_stays_for_its_task_to_name_it():
  assert task.classes(context(LABELS, MISSING)) == ["emotion"]  # one example of class 2


def test_numbers_are_those_that_vary_and_make_up_no_factor():
  assert task.numbers(context(LABELS, MISSING)) == ["age"]


def test_labels_that_were_asked_for_stay():
  asked = context(LABELS, MISSING, labels=("bald", "emotion", "unknown", "zero"))
  assert task.attributes(asked) == ["bald", "unknown"]
  assert task.classes(asked) == ["emotion"] and task.numbers(asked) == ["zero"]


def test_the_default_configuration_has_every_task_and_each_of_its_sections():
  config, names = get_config(), task.names()
  assert set(config.tasks) == {name for name in names if task.find(name).by_default}
  assert config.tasks[0] == "linear" and "finetune" in names and "finetune" not in config.tasks
  for name in names:
    assert ConfigDict(config.get(name, {})).to_dict() == task.find(name).defaults()


def test_a_task_by_its_dotted_path_is_found_with_its_defaults():
  config = get_config()
  assert task.settings(config, "support.toy_task").to_dict() == {"scale": 2.0}
  assert task.section("support.toy_task") == "toy_task"


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("linaer", "config.tasks: 'linaer' is unknown; choose from linear, regression, few_shot"),
    ("support.nowhere", "'support.nowhere' is unknown"),
    ("support.results", "the module support.results has no TASK"),
  ],
)
def test_what_is_no_task_is_named(name, message):
  with pytest.raises(UserError, match=message):
    task.find(name)
