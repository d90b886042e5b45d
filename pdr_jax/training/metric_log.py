"""Averages of (sum, count) metrics, and where they go: `metrics.jsonl` and TensorBoard."""

import importlib
import io
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from pdr_jax.errors import UserError
from pdr_jax.files import in_bucket, write_atomically
from pdr_jax.training import run_dir
from pdr_jax.training.nonfinite import NonFinite

PROCESSOR_SECONDS = "speed/processor_seconds"  # of the run so far, at each validation


class Meter:
  """Adds up (sum, count) metrics in float64.

  Its contents go into checkpoints, so that a resumed run logs the same averages.
  """

  def __init__(self, sums: Mapping[str, list[float]] | None = None):
    self._sums = {name: np.asarray(pair, np.float64) for name, pair in (sums or {}).items()}

  def add(self, step: int, metrics: Mapping[str, np.ndarray]) -> None:
    """Raises `NonFinite` at a sum that is not finite; nothing is added then."""
    for name, pair in metrics.items():
      if not np.isfinite(pair).all():
        raise NonFinite(step, name, pair[0])
    for name, pair in metrics.items():
      self._sums[name] = self._sums.get(name, 0.0) + pair

  def means(self) -> dict[str, float]:
    """Averages by name; a metric that counted nothing is left out."""
    return {name: float(pair[0] / pair[1]) for name, pair in self._sums.items() if pair[1] > 0}

  def sums(self) -> dict[str, list[float]]:
    """The contents, for a checkpoint."""
    return {name: pair.tolist() for name, pair in self._sums.items()}

  def reset(self) -> None:
    self._sums = {}


class MetricLog:
  """Appends to `metrics.jsonl` and TensorBoard.

  Lines after `first_step` (the run got further than its checkpoint) are dropped first, and with `owed` those
  of its validation, which is still to be made up for: an earlier start was killed at that.
  """

  def __init__(self, workdir: str, first_step: int, *, owed: bool, primary: bool):
    self._path = os.path.join(workdir, run_dir.METRICS)
    self._file = self._board = None
    if primary:

      def stays(line):
        last = first_step - 1 if owed and PROCESSOR_SECONDS in line else first_step
        return line["step"] <= last

      text = "".join(json.dumps(line) + "\n" for line in filter(stays, read_metrics(workdir)))
      if in_bucket(workdir):  # where nothing can be appended: lines gather in memory
        self._file = io.StringIO()
        self._file.write(text)
      else:
        write_atomically(self._path, lambda file: file.write(text.encode()))
        self._file = open(self._path, "a", encoding="utf-8")
      purge = first_step + 1 if first_step else None
      self._board = _tensorboard().SummaryWriter(
        os.path.join(workdir, "tensorboard"), purge_step=purge, flush_secs=30
      )

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """One line; names are those of the metrics, values are averages."""
    if self._file is not None:
      self._file.write(json.dumps({"step": step} | dict(metrics)) + "\n")
      self._file.flush()
      for name, value in metrics.items():
        self._board.add_scalar(name, value, step)

  def publish(self) -> None:
    """To be called before each checkpoint: a file in a bucket gets the lines so far.

    The lines after a checkpoint are written again anyway.
    """
    if isinstance(self._file, io.StringIO):
      text = self._file.getvalue()
      write_atomically(self._path, lambda file: file.write(text.encode()))

  def close(self) -> None:
    if self._file is not None:
      self.publish()
      self._file.close()
      self._board.close()


def _tensorboard() -> Any:
  """tensorboardX, without PyTorch, which it would import where that is installed: seconds, for nothing."""
  if "torch" in sys.modules:
    return importlib.import_module("tensorboardX")
  sys.modules["torch"] = None  # makes `import torch` fail
  try:
    return importlib.import_module("tensorboardX")
  finally:
    del sys.modules["torch"]


def read_metrics(workdir: str) -> list[dict]:
  """The records of `metrics.jsonl` in order: `{"step": ..., name: average, ...}`; empty without the file.

  The last line may have been cut off by a kill. Raises `UserError` for any other line that is not JSON.
  """
  path = epath.Path(workdir, run_dir.METRICS)
  try:
    lines = path.read_text().splitlines()
  except FileNotFoundError:
    return []
  records = []
  for number, line in enumerate(lines, 1):
    try:
      records.append(json.loads(line))
    except json.JSONDecodeError as error:
      if number < len(lines):
        raise UserError(f"{path}, line {number}, is not JSON ({error}): delete that line") from None
  return records
