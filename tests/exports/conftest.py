"""A run directory with random networks, made without training, and its export."""

import pytest
from support import exported as small

from pdr_jax import export


@pytest.fixture(scope="session")
def variables():
  """The inference variables of `support.exported.small_config`."""
  return small.random_variables(small.small_config())


@pytest.fixture(scope="session")
def run(tmp_path_factory, variables):
  """The run directory."""
  workdir = str(tmp_path_factory.mktemp("run"))
  small.write_run(workdir, small.small_config(), variables)
  return workdir


@pytest.fixture(scope="session")
def exported(run, tmp_path_factory):
  """The export of `run`."""
  folder = str(tmp_path_factory.mktemp("exported") / "model")
  assert export.main(["export", f"--workdir={run}", f"--out={folder}"]) == 0
  return folder
