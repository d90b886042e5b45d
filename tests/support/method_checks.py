"""What the tests of single methods share: trees as vectors, runs in halves, configurations with a change."""

import jax
import numpy as np
from ml_collections import ConfigDict

from pdr_jax.training import loop
from support import runs, toy_data


def vector(tree) -> np.ndarray:
  """All numbers of a tree in one row, float64."""
  return np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(tree)])


def two_and_two_are_four(config: ConfigDict, method, tmp_path) -> dict[str, np.ndarray]:
  """Trains four steps in one go, and two and two; asserts the same state bit for bit, and returns it."""
  config.train.update(validate_every=2, figure_every=0, checkpoint_every=2, log_every=1)
  for name, stops in (("whole", (4,)), ("halves", (2, 4))):
    for stop in stops:
      config.train.steps = stop
      data = toy_data.data(config)
      assert loop.train(config, str(tmp_path / name), method=method, data=data).exit_code == 0
  whole, halves = (runs.arrays(tmp_path / name, 4) for name in ("whole", "halves"))
  assert whole.keys() == halves.keys()
  for name, value in whole.items():
    np.testing.assert_array_equal(halves[name], value, err_msg=name)
  return whole


def changed(config: ConfigDict, change: dict) -> ConfigDict:
  """The configuration with these keys, `section.name`, set."""
  for key, value in change.items():
    section, name = key.split(".")
    config[section][name] = value
  return config
