"""What a second stage starts from: `config.init_from` may be a run directory or an export."""

import os

from pdr_jax.exports import reader
from pdr_jax.training import stages


def read(folder: str) -> tuple[stages.Record, dict]:
  """The record of a first stage (see `training.stages`) and its inference variables. Raises `UserError`."""
  if os.path.exists(os.path.join(folder, reader.MANIFEST)):
    return stages.record_of(folder), reader.load_variables(folder)
  return stages.read_run(folder)
