"""What a run tells its user: a progress bar, lines, and the table at the end."""

import math
import sys
import time
from collections.abc import Mapping

import rich.console
import rich.progress
import rich.table


class Progress:
  """A bar with images per second, time left and loss on a terminal; elsewhere a line every ten seconds.

  Speed is measured over the last half minute or so, and never over the first step, which compiles.
  """

  EVERY = 10.0  # seconds between lines without a terminal

  def __init__(self, step: int, steps: int, images_per_step: int, *, primary: bool):
    self.console = rich.console.Console(
      stderr=False, highlight=False, quiet=not primary, soft_wrap=not sys.stdout.isatty()
    )
    self._step, self._steps, self._images = step, steps, images_per_step
    self._marks: list[tuple[float, int]] = []
    self._printed = time.monotonic()
    self._bar = None
    if self.console.is_terminal:
      fields = ("{task.completed}/{task.total}", "{task.fields[speed]}", "{task.fields[loss]}")
      self._bar = rich.progress.Progress(
        "{task.description}", rich.progress.BarColumn(), *fields, console=self.console, transient=True
      )
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
      self._bar.update(
        self._task, completed=step, description="training", speed=self._speed_text(), loss=shown
      )
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
  table = rich.table.Table(
    title=f"step {summary['step']}: validation ({summary['examples']} images)", title_justify="left"
  )
  for title in ("", "this model", *baselines):
    table.add_column(title, justify="left" if not title else "right")
  for name, value in summary["validation"].items():
    others = [f"{entry[name]:.4g}" if name in entry else "" for entry in baselines.values()]
    table.add_row(name.removeprefix("val/"), f"{value:.4g}", *others)
  return table
