"""A run between its first state and its last step: what it holds open, and what it knows so far."""

import os
import resource
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from pdr_jax import methods
from pdr_jax.data import pipeline
from pdr_jax.methods import Method, inference_variables
from pdr_jax.training import distributed, light_probe, nonfinite, run_dir
from pdr_jax.training import step as steps
from pdr_jax.training.cadence import is_due, out_of_patience
from pdr_jax.training.checkpoints import MODES, Checkpoints
from pdr_jax.training.intake import Intake
from pdr_jax.training.metric_log import PROCESSOR_SECONDS, Meter, MetricLog, read_metrics
from pdr_jax.training.nonfinite import NonFinite
from pdr_jax.training.progress import Progress
from pdr_jax.training.trace import Trace
from pdr_jax.training.validation import Validator
from pdr_jax.training.watchdog import Watchdog

AHEAD = 2  # dispatches that the host may be ahead of the device: it stays busy, and a failure shows at once


class Start(NamedTuple):
  """Where a run starts: the state on its devices, its step, and what the checkpoint says besides (`run`)."""

  state: Any
  step: int
  run: dict


class Run:
  """A run whose steps are dispatched one after the other.

  Attributes:
    step: the last step that was dispatched.
    state: as it is after that step.
    checkpoints, progress: what its name says.
  """

  def __init__(
    self, config: ConfigDict, workdir: str, method: Method, data: Any, checkpoints: Checkpoints, start: Start
  ):
    self.state, self.step, self._saved = start
    self.checkpoints = checkpoints
    self._config, self._train = config, config.train
    self._workdir, self._method = workdir, method
    self._batches: Sequence[dict] = ()
    self._best = self._best_so_far()
    self._validated = self._saved.get("validated")
    self._seconds_before = self._saved.get("seconds", 0.0)
    self._processor_before = self._saved.get("processor_seconds", 0.0)
    self._begun, self._processor_begun = time.monotonic(), processor_seconds()

    # ---- programs
    descending = nonfinite.guarded(method, self._train)
    self._update, self._updates = steps.update_fn(descending), steps.updates_fn(descending)
    self._root = steps.stream(config.seed, "update")
    self._validator = Validator(method, data.validation)
    self._probe = light_probe.create(config, method)
    if self.step < self._train.steps:
      self._validator.check_best_metric(self.state, self._train.best_metric)

    # ---- what is open until `close`
    primary = jax.process_index() == 0
    self._feed = pipeline.prefetch(data.train, steps.place, AHEAD)
    self._log = MetricLog(workdir, self.step, owed=self._saved.get("owed", False), primary=primary)
    self.progress = Progress(self.step, self._train.steps, self._train.batch_size, primary=primary)
    self._watchdog = Watchdog(self._train.stall_minutes, self.progress.say)
    self._trace = Trace(workdir, self._train.profile_steps if primary else (), self.progress.say)
    told = dict(log=self._log, progress=self.progress, watchdog=self._watchdog)
    skipped = self._saved.get("skipped_in_a_row", 0)
    self._intake = Intake(workdir, self._train, self._saved.get("meter"), skipped, **told)

  def catch_up(self) -> None:
    """The validation and the figures that were due when a signal stopped the run before.

    The checkpoint of this step becomes the one that an undisturbed run has, the best one perhaps.
    """
    scores = self._look() if self._saved.get("owed") else None
    if scores:
      self._log.publish()
      metrics = scores if self._keeps(scores) else None
      self.checkpoints.complete(self.step, self._saved | self._learned() | dict(owed=False), metrics)

  def dispatch(self, together: range) -> None:
    """Reads the batches of these steps and sends the steps to the device."""
    self.step = together[-1]
    self._watchdog.at(f"reading the batch of step {self.step}")
    self._batches = [next(self._feed) for _ in together]
    if self._trace.begins(together):
      self._intake.finish()
      self._trace.start()
    self._watchdog.at(f"compiling or starting step {self.step}")
    with jax.profiler.StepTraceAnnotation("train", step_num=self.step):
      if len(together) == 1:
        self.state, metrics = self._update(self.state, self._batches[0], self._root)
      else:
        self.state, metrics = self._updates(self.state, self._batches, self._root)
    self._intake.put(together, metrics, self._batches)
    self._intake.finish(leave=AHEAD)
    if self._trace.ends(together):
      self._intake.finish()
      self._trace.close()

  def finish(self) -> None:
    """Waits for the steps that were dispatched. Raises `NonFinite`."""
    self._intake.finish()
    self.progress.pause()

  def log_gradient_norms(self) -> None:
    """The gradient's norm of each loss term on the last batch, where it is due and the method has it.

    A batch whose step was left out has none: its norms are not finite either, and would end the run.
    """
    due = self._method.gradient_norms is not None and self._due(self._train.gradient_norms_every)
    if not due or self._intake.skipped_in_a_row:
      return
    norms = Meter()
    norms.add(
      self.step, steps.gradient_norms_fn(self._method)(self.state, self._batches[-1], self._root).fetch()
    )
    self._log.write(self.step, norms.means())

  def look_and_save(self) -> None:
    """Validation, figures and a checkpoint, where they are due.

    It also keeps a checkpoint of the best validation so far.
    """
    scores = self._look()
    if self._keeps(scores):
      self.save(scores)
    self.progress.pause()

  def is_done(self) -> bool:
    """Whether patience has ended the run: the last validation was of this step, and the best too long ago.

    It follows from what a checkpoint says, so that a run which is started again after that stays ended.
    """
    looked = self._validated is not None and self._validated["step"] == self.step and self._best is not None
    return looked and out_of_patience(self.step, self._best["step"], self._train)

  def save(self, metrics: dict | None = None, *, owed: bool = False) -> None:
    """Begins to save. Raises `NonFinite` and saves nothing where the state is not finite.

    `metrics`: of a validation of this very state. `owed`: the run stops before its validation, which is made
    up for when it continues.
    """
    self._watchdog.at(f"saving step {self.step}")
    bad = steps.first_nonfinite(self.state)
    if bad:
      batch = nonfinite.write_batch(self._workdir, self.step, self._batches[-1])
      raise NonFinite(self.step, bad, float("nan"), batch)
    run = dict(
      position=self._feed.get_state(),
      meter=self._intake.meter.sums(),
      skipped_in_a_row=self._intake.skipped_in_a_row,
      owed=owed,
      **self._learned(),
    )
    self._log.publish()
    self.checkpoints.save(self.step, self.state, run, metrics)

  def summary(self) -> dict:
    """The scores of the last state beside the baselines, and the best validation.

    It validates where that is not done.
    """
    if self._validated is None or self._validated["step"] != self.step:
      self._validate()
    return {
        "step": self._validated["step"],
        "steps": self._train.steps,
        "stopped": self._stopped(),
        "seconds": self._seconds(),
        "processor_seconds": self._processor_seconds(),
        "examples": self._validated["examples"],
        "validation": self._validated["scores"],
        "baselines": self._validator.baselines(),
        "best": self._best or {},
    }

  def close(self, *, quietly: bool) -> None:
    """Lets go of everything. `quietly`: an error ends the run already, and stays the one that is told."""
    close(
        (self._trace, self._watchdog, self.progress, self._feed, self._log, self.checkpoints), quietly=quietly
    )

  def _look(self) -> dict | None:
    """Validation and figures where they are due; returns the scores of a validation."""
    scores = None
    self._watchdog.at(f"validating and drawing step {self.step}")
    if self._due(self._train.validate_every):
      scores = self._validate()
      self._log.write(self.step, scores | {PROCESSOR_SECONDS: round(self._processor_seconds(), 1)})
      self.progress.say(self._validator.line(self.step, scores))
      self._compare(scores)
      for warning in self._validator.warnings(scores, self.step, self._train.steps):
        self.progress.say(warning)
    if self._due(self._train.figure_every) and jax.process_index() == 0 and self._method.pictures is not None:
      inputs = self._validator.first(methods.describe(self._config.method).input)
      draw(self._workdir, self._method, self.state, inputs, self.step)
    return scores

  def _compare(self, scores: dict) -> None:
    """Makes this validation the best one where it is better; one that counted nothing is left out."""
    name = self._train.best_metric
    if name not in scores:
      choose = "choose another config.train.best_metric if it never does"
      self.progress.say(f"warning: the validation of step {self.step} counted nothing for {name}: {choose}")
    elif self._best is None or self._is_better(scores[name], self._best["value"]):
      self._best = {"step": self.step, "value": scores[name]}

  def _keeps(self, scores: dict | None) -> bool:
    """Whether this step has a checkpoint: one is due, or these scores of it are the best so far."""
    due = self._due(self._train.checkpoint_every) or self.is_done()
    return due or (scores is not None and self._best is not None and self._best["step"] == self.step)

  def _learned(self) -> dict:
    """What validations have told so far, and what the run has taken; for a checkpoint."""
    return dict(
      best=self._best,
      best_of=self._best_of(),
      validated=self._validated,
      seconds=self._seconds(),
      processor_seconds=self._processor_seconds(),
    )

  def _best_of(self) -> list[str]:
    """What chooses the best validation."""
    return [self._train.best_metric, self._train.best_mode]

  def _best_so_far(self) -> dict | None:
    """The best validation before this start, None without one.

    Where the configuration now has another metric or mode, the checkpoint's is that of the one before. The
    log then tells which it is, as in a run that had the new one from its first step. A checkpoint that does
    not say what chose it has the metric and mode of its run.
    """
    name, mode = best_of = self._best_of()
    if self._saved.get("best_of", best_of) == best_of:
      return self._saved.get("best")
    lines = [line for line in read_metrics(self._workdir) if name in line and line["step"] <= self.step]
    validations = [{"step": line["step"], "value": line[name]} for line in lines]
    best = MODES[mode](validations, key=lambda validation: validation["value"], default=None)
    return distributed.json_from_first(best)

  def _validate(self) -> dict[str, float]:
    scores = self._validator.scores(self.state, self.step)
    scores |= self._probe(self.state) if self._probe is not None else {}
    self._validated = {"step": self.step, "scores": scores, "examples": self._validator.examples}
    return scores

  def _is_better(self, value: float, other: float) -> bool:
    return value < other if self._train.best_mode == "lowest" else value > other

  def _due(self, every: int) -> bool:
    return is_due(self.step, every, self._train.steps)

  def _stopped(self) -> str:
    """Why the run has ended, in words."""
    name = self._train.best_metric
    if not self.is_done() or self.step == self._train.steps:
      return f"all {self._train.steps:,} steps"
    share = f"{100 * self._train.patience:g} % of {self._train.steps:,} steps"
    return f"step {self.step:,}: {name} not better since step {self._best['step']:,}, for {share}"

  def _seconds(self) -> float:
    """Spent on the run so far, by the starts before this one too."""
    return self._seconds_before + time.monotonic() - self._begun

  def _processor_seconds(self) -> float:
    """Processor time of all threads and workers on the run so far, by the starts before this one too.

    In the first process; what a killed start had done since its last checkpoint is not in it.
    """
    return self._processor_before + processor_seconds() - self._processor_begun


def processor_seconds() -> float:
  """Processor time of this process and of the children that have ended."""
  used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
  return sum(each.ru_utime + each.ru_stime for each in used)


def close(resources: Iterable[Any], *, quietly: bool) -> None:
  """Closes all of them, whatever one of them raises."""
  first_error = None
  for opened in resources:
    try:
      opened.close()
    except Exception as error:  # such as what could not be written
      first_error = first_error or error
  if first_error and not quietly:
    raise first_error


def draw(workdir: str, method: Method, state: Any, inputs: Any, step: int) -> None:
  """Saves what the method shows of some inputs, as `figures/step_00001000.png` and `figures/latest.png`."""
  # Matplotlib is slow to import, and the first step need not wait for it.
  from pdr_jax.plots import sheets, style

  columns = jax.device_get(steps.pictures_fn(method)(steps.on_one_device(inference_variables(state)), inputs))
  # A clip is no picture: its method says what there is to see.
  columns = ({"input": inputs} if inputs.ndim == 4 else {}) | columns
  sheet = sheets.decomposition_sheet(columns, title=f"step {step}")
  for name in (f"step_{step:08d}.png", "latest.png"):
    style.save(sheet, os.path.join(workdir, run_dir.FIGURES, name))
