"""What a run tells: averages of (sum, count) metrics, `metrics.jsonl` and TensorBoard, a progress bar, and the summary's table."""

import importlib
import io
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import rich.console
import rich.progress
import rich.table
from etils import epath

from pdr_jax.errors import UserError
from pdr_jax.files import in_bucket, write_atomically
from pdr_jax.training import run_dir


class Meter:
  """Adds up (sum, count) metrics in float64. Its contents go into checkpoints, so that a resumed run logs the same averages."""

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


class NonFinite(Exception):
  """A metric or the state stopped being finite: which, at which step (one-based count of updates), and the file that holds its batch."""

  def __init__(self, step: int, term: str, value: float, batch_file: str = ""):
    super().__init__(f"{term} is {value} at step {step}")
    self.step, self.term, self.batch_file = step, term, batch_file


class MetricLog:
  """Appends to `metrics.jsonl` and TensorBoard. Lines after `first_step` (the run got further than its checkpoint) are dropped first."""

  def __init__(self, workdir: str, first_step: int, *, primary: bool):
    self._path = os.path.join(workdir, run_dir.METRICS)
    self._file = self._board = None
    if primary:
      keep = [line for line in read_metrics(workdir) if line["step"] <= first_step]
      text = "".join(json.dumps(line) + "\n" for line in keep)
      if in_bucket(workdir):  # where nothing can be appended: lines gather in memory
        self._file = io.StringIO()
        self._file.write(text)
      else:
        write_atomically(self._path, lambda file: file.write(text.encode()))
        self._file = open(self._path, "a", encoding="utf-8")
      purge = first_step + 1 if first_step else None
      self._board = _tensorboard().SummaryWriter(os.path.join(workdir, "tensorboard"), purge_step=purge, flush_secs=30)

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """One line; names are those of the metrics, values are averages."""
    if self._file is not None:
      self._file.write(json.dumps({"step": step} | dict(metrics)) + "\n")
      self._file.flush()
      for name, value in metrics.items():
        self._board.add_scalar(name, value, step)

  def publish(self) -> None:
    """To be called before each checkpoint: a file in a bucket gets the lines so far; those after a checkpoint are written again anyway."""
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

  The last line may have been cut off by a kill.
  """
  records = []
  try:
    with epath.Path(workdir, run_dir.METRICS).open() as file:
      for line in file:
        records.append(json.loads(line))
  except (FileNotFoundError, json.JSONDecodeError):
    pass
  return records


class Progress:
  """A bar with images per second, time left and loss on a terminal; elsewhere a line every ten seconds.

  Speed is measured over the last half minute or so, and never over the first step, which compiles.
  """

  EVERY = 10.0  # seconds between lines without a terminal

  def __init__(self, step: int, steps: int, images_per_step: int, *, primary: bool):
    self.console = rich.console.Console(stderr=False, highlight=False, quiet=not primary, soft_wrap=not sys.stdout.isatty())
    self._step, self._steps, self._images = step, steps, images_per_step
    self._marks: list[tuple[float, int]] = []
    self._printed = time.monotonic()
    self._bar = None
    if self.console.is_terminal:
      fields = ("{task.completed}/{task.total}", "{task.fields[speed]}", "{task.fields[loss]}")
      self._bar = rich.progress.Progress("{task.description}", rich.progress.BarColumn(), *fields, console=self.console, transient=True)
      self._task = self._bar.add_task("compiling", total=steps, completed=step, speed="", loss="")
      self._bar.start()
    else:
      self.console.print(f"step {step}/{steps}: compiling the step", markup=False)

  def mark(self, step: int) -> None:
    """All steps up to this one have just been finished: a point for the speed."""
    now = time.monotonic()
    self._marks.append((now, step))
    while len(self._marks) > 2 and now - self._marks[0][0] > 30.0:
      self._marks.pop(0)

  def advance(self, step: int, loss: float | None) -> None:
    """Shows a finished step."""
    now = time.monotonic()
    self._step = step
    shown = "" if loss is None else f"loss {loss:.4g}"
    if self._bar is not None:
      self._bar.update(self._task, completed=step, description="training", speed=self._speed_text(), loss=shown)
    elif now - self._printed >= self.EVERY or step == self._steps:
      self._printed = now
      self.console.print(f"step {step}/{self._steps}  {self._speed_text()}  {shown}", markup=False)

  def pause(self) -> None:
    """Forgets the clock, so that validation, figures and checkpoints do not count as slow steps."""
    self._marks.clear()

  def images_per_second(self) -> float | None:
    """Recent speed over the steps alone, or None before two of them."""
    if len(self._marks) < 2 or self._marks[-1][0] == self._marks[0][0]:
      return None
    (start, first), (end, last) = self._marks[0], self._marks[-1]
    return (last - first) * self._images / (end - start)

  def say(self, line: str) -> None:
    """A line for the user above the bar."""
    self.console.print(line, markup=False)

  def close(self) -> None:
    if self._bar is not None:
      self._bar.stop()

  def _speed_text(self) -> str:
    speed = self.images_per_second()
    if not speed:
      return ""
    left = (self._steps - self._step) * self._images / speed
    return f"{speed:.1f} images/s, {duration(left)} left"


def duration(seconds: float) -> str:
  """3725 -> `1:02:05`, 65 -> `1:05`."""
  minutes, seconds = divmod(math.ceil(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def summary_table(summary: Mapping) -> rich.table.Table:
  """The end of a run as a table: the model's figures beside those of the baselines, where there are any."""
  baselines = summary["baselines"]
  table = rich.table.Table(title=f"step {summary['step']}: validation ({summary['examples']} images)", title_justify="left")
  for title in ("", "this model", *baselines):
    table.add_column(title, justify="left" if not title else "right")
  for name, value in summary["validation"].items():
    others = [f"{entry[name]:.4g}" if name in entry else "" for entry in baselines.values()]
    table.add_row(name.removeprefix("val/"), f"{value:.4g}", *others)
  return table


def stop_message(error: NonFinite, kept: int | None, workdir: str) -> UserError:
  """The one line that a run ends with when a number stopped being finite."""
  last = f"the checkpoint of step {kept} in {workdir} is intact" if kept is not None else "there is no checkpoint yet"
  batch = f"; its batch is in {error.batch_file}" if error.batch_file else ""
  advice = "Try a lower config.optim.learning_rate or a lower config.optim.clip_norm"
  return UserError(f"{error}{batch}: training stopped, {last}. {advice}")
