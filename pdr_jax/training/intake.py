"""The metrics of steps, taken in one by one when the device has computed them.

They are checked, averaged, logged and shown.
"""

import collections
from collections.abc import Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict

from pdr_jax.training import nonfinite
from pdr_jax.training import step as steps
from pdr_jax.training.cadence import is_due
from pdr_jax.training.metric_log import Meter, MetricLog
from pdr_jax.training.nonfinite import NonFinite
from pdr_jax.training.progress import Progress
from pdr_jax.training.watchdog import Watchdog


class Intake:
  """Takes in the metrics of dispatched steps in order. Every step is checked, none is waited for early.

  Args:
    workdir: where the batch of a step that is not finite goes.
    train: the section `train` of the configuration.
    sums: the open averages of a run that continues.
    skipped_in_a_row: how many steps right before the first one were left out.
    log, progress, watchdog: the run's.
  """

  def __init__(
    self,
    workdir: str,
    train: ConfigDict,
    sums: Mapping | None,
    skipped_in_a_row: int,
    *,
    log: MetricLog,
    progress: Progress,
    watchdog: Watchdog,
  ):
    self.meter = Meter(sums)
    self.skipped_in_a_row = skipped_in_a_row
    self._workdir, self._train = workdir, train
    self._log = log
    self._progress = progress
    self._watchdog = watchdog
    self._inflight: collections.deque[tuple[range, steps.Metrics, Sequence[dict]]] = collections.deque()

  def put(self, together: range, metrics: steps.Metrics, batches: Sequence[dict]) -> None:
    """These steps have been dispatched, with these batches."""
    self._inflight.append((together, metrics.start_transfer(), batches))

  def finish(self, leave: int = 0) -> None:
    """Waits for all dispatches but the last `leave`. Raises `NonFinite`."""
    while len(self._inflight) > leave:
      together, metrics, batches = self._inflight.popleft()
      self._watchdog.at(f"computing step {together[-1]}")
      each = metrics.each()
      self._progress.mark(together[-1])
      for step, values, batch in zip(together, each, batches, strict=True):
        self._take(step, values, batch)

  def _take(self, step: int, values: dict[str, np.ndarray], batch: dict) -> None:
    bad = nonfinite.culprit(values)
    self.skipped_in_a_row = self.skipped_in_a_row + 1 if bad else 0
    if bad:
      error = NonFinite(step, *bad, nonfinite.write_batch(self._workdir, step, batch))
      allowed = self._train.skip_nonfinite
      if self.skipped_in_a_row > allowed:
        raise error
      count = f"{self.skipped_in_a_row} in a row of at most {allowed}"
      self._progress.say(f"{error}: step left out ({count}); see {error.batch_file}")
      values = {nonfinite.SKIPPED: values[nonfinite.SKIPPED]}
    self.meter.add(step, values)
    loss = values.get("loss")
    self._progress.advance(step, None if loss is None else loss[0] / loss[1])
    if is_due(step, self._train.log_every, self._train.steps):
      self._write_averages(step)

  def _write_averages(self, step: int) -> None:
    averages = {name if "/" in name else f"train/{name}": value for name, value in self.meter.means().items()}
    speed = self._progress.images_per_second()
    self._log.write(step, averages | ({} if speed is None else {"speed/images_per_second": speed}))
    self.meter.reset()
