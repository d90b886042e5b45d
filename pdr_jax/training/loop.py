"""The training loop, one for every method: data, state (fresh or from a checkpoint), steps; logs, validation, figures, checkpoints."""

import collections
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from pdr_jax import methods
from pdr_jax.data import pipeline
from pdr_jax.files import write_json
from pdr_jax.methods import Method
from pdr_jax.report import figures
from pdr_jax.training import run_dir
from pdr_jax.training import step as steps
from pdr_jax.training.checkpoints import FOLDER, Checkpoints
from pdr_jax.training.logging import Meter, MetricLog, NonFinite, Progress, duration, read_metrics, stop_message, summary_table
from pdr_jax.training.validation import Validator

AHEAD = 2  # steps that the host may run ahead of the device: enough to keep it busy, few enough that a failure shows at once


class Data(NamedTuple):
  """What a run reads: an endless iterator with `get_state`/`set_state`, finite validation batches in fixed order, and a line about both."""

  train: Any
  validation: Iterable[dict]
  description: str


class Result(NamedTuple):
  """`exit_code` is 0, or 128 + the signal that stopped the run; `summary` is what `summary.json` holds (None when stopped)."""

  exit_code: int
  summary: dict | None


def open_data(config: ConfigDict) -> Data:
  """The data of a configuration. Raises `UserError`."""
  place = dict(process_index=jax.process_index(), process_count=jax.process_count())
  description = pipeline.describe(config).summary()
  return Data(pipeline.train_iterator(config, **place), pipeline.validation_batches(config, **place), description)


def train(
    config: ConfigDict, workdir: str, *, override_config: bool = False, method: Method | None = None, data: Data | None = None
) -> Result:
  """Trains until `config.train.steps`, from the newest checkpoint in `workdir` where there is one.

  Args:
    config: checked by `config_checks.validate`.
    workdir: absolute path of the run directory.
    override_config: continue although the configuration differs from that of the run.
    method: instead of the one that `config.method` names.
    data: instead of that of `config.data`.

  Raises `UserError` for what the user can mend, a loss that stopped being finite included; the last good checkpoint then stays.
  """
  primary = jax.process_index() == 0
  tell = functools.partial(print, flush=True) if primary else lambda line: None
  cadence = config.train

  # ---------------------------------------------------------------- directory, data, method
  run_dir.check_run(workdir, config, override_config=override_config, say=tell)
  data = data or open_data(config)
  method = method or methods.create(config)
  tell(data.description)
  machine = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
  tell(f"{config.method} on {machine}, batch {cadence.batch_size}, {cadence.steps} steps, in {workdir}")
  example = {name: value for name, value in next(iter(data.validation)).items() if name != "_mask"}

  # ---------------------------------------------------------------- state: from the newest checkpoint, or fresh
  checkpoints = Checkpoints(workdir, keep=cadence.keep_checkpoints, best_metric=cadence.best_metric, say=tell)
  restored = checkpoints.restore_latest(steps.abstract_state(method, config.seed, example)) if checkpoints.steps() else None
  if restored:
    state, start, run = restored.state, restored.step, restored.run
    data.train.set_state(run["position"])
    tell(f"continuing from the checkpoint of step {start}")
  else:
    state, start, run = steps.initial_state(method, config.seed, example), 0, {}
  run_dir.record_start(workdir, config)
  meter, best, validated = Meter(run.get("meter")), run.get("best"), run.get("validated")
  seconds_before, begun = run.get("seconds", 0.0), time.monotonic()

  # ---------------------------------------------------------------- programs
  update, gradient_norms = steps.update_fn(method), steps.gradient_norms_fn(method)
  validator = Validator(method, data.validation, config)
  if start < cadence.steps:
    validator.check_best_metric(state, cadence.best_metric)
  root = steps.stream(config.seed, "update")
  feed = pipeline.prefetch(data.train, steps.place, AHEAD)
  log = MetricLog(workdir, start, primary=primary)
  progress = Progress(start, cadence.steps, cadence.batch_size, primary=primary)
  inflight: collections.deque[tuple[int, steps.Metrics]] = collections.deque()
  occasions = (cadence.validate_every, cadence.figure_every, cadence.checkpoint_every, cadence.gradient_norms_every)

  def finish(leave: int) -> None:
    """Takes in the metrics of steps that are done, all but the last `leave`. Every step is checked, none is waited for early."""
    while len(inflight) > leave:
      step, metrics = inflight.popleft()
      values = metrics.fetch()
      meter.add(step, values)
      loss = values.get("loss")
      progress.advance(step, None if loss is None else loss[0] / loss[1])
      if due(step, cadence.log_every):
        write_averages(step)

  def write_averages(step: int) -> None:
    averages = {name if "/" in name else f"train/{name}": value for name, value in meter.means().items()}
    speed = progress.images_per_second()
    log.write(step, averages | ({} if speed is None else {"speed/images_per_second": speed}))
    meter.reset()

  def due(step: int, every: int) -> bool:
    return bool(every) and (step % every == 0 or step == cadence.steps)

  def look(step: int) -> dict | None:
    """Validation and figures where they are due; returns the scores of a validation."""
    nonlocal best, validated
    scores = None
    if due(step, cadence.validate_every):
      scores = validator.scores(state, step)
      log.write(step, scores)
      validated = {"step": step, "scores": scores, "examples": validator.examples}
      if best is None or scores[cadence.best_metric] < best["value"]:
        best = {"step": step, "value": scores[cadence.best_metric]}
      progress.say(validator.line(step, scores))
    if due(step, cadence.figure_every) and primary:
      draw(workdir, method, state, validator.pictures(), step)
    return scores

  def save(step: int, metrics: dict | None, owed: bool = False) -> None:
    """`owed`: the run stops before `look(step)`, which is made up for when it continues."""
    bad = steps.first_nonfinite(state)
    if bad:
      raise NonFinite(step, bad, float("nan"))
    seconds = seconds_before + time.monotonic() - begun
    run = dict(position=feed.get_state(), meter=meter.sums(), best=best, validated=validated, seconds=seconds, owed=owed)
    checkpoints.save(step, state, run, metrics)

  # ---------------------------------------------------------------- steps
  try:
    if run.get("owed"):
      look(start)
    with StopRequest() as stop:
      for step in range(start + 1, cadence.steps + 1):
        batch = next(feed)
        state, metrics = update(state, batch, root)
        inflight.append((step, metrics.start_transfer()))
        finish(leave=AHEAD)

        if not (stop.requested or any(due(step, every) for every in occasions)):
          continue
        finish(leave=0)
        progress.pause()
        if due(step, cadence.gradient_norms_every):
          norms = Meter()
          norms.add(step, gradient_norms(state, batch, root).fetch())
          log.write(step, norms.means())
        # Before the next batch is drawn: the position in the checkpoint is that of the batch just used.
        if stop.requested:  # whoever sent it may not wait for a validation
          save(step, None, owed=True)
          checkpoints.wait()
          progress.say(f"stopped by {signal.Signals(stop.requested).name}; saved step {step}: the same command continues from there")
          return Result(128 + stop.requested, None)
        scores = look(step)
        if due(step, cadence.checkpoint_every) or (scores and best["step"] == step):
          save(step, scores)
        progress.pause()
    checkpoints.wait()
    kept, best_kept = checkpoints.steps(), checkpoints.best_step()
  except NonFinite as error:
    checkpoints.wait()
    raise stop_message(error, max(checkpoints.steps(), default=None), workdir) from error
  finally:
    for resource in (progress, feed, log, checkpoints):
      resource.close()

  # ---------------------------------------------------------------- what was learned
  if validated is None or validated["step"] != max(start, cadence.steps):
    step = max(start, cadence.steps)
    validated = {"step": step, "scores": validator.scores(state, step), "examples": validator.examples}
  summary = {
      "step": validated["step"],
      "seconds": seconds_before + time.monotonic() - begun,
      "examples": validated["examples"],
      "validation": validated["scores"],
      "baselines": validator.baselines(),
      "best": dict(best or {}, metric=cadence.best_metric, checkpoint=best_kept),
      "checkpoints": kept,
  }
  if primary:
    write_json(os.path.join(workdir, run_dir.SUMMARY), summary)
    figures.save(figures.training_curves(read_metrics(workdir)), os.path.join(workdir, run_dir.FIGURES, "training_curves.png"))
    report(summary, workdir, progress.say)
    progress.console.print(summary_table(summary))
  return Result(0, summary)


def draw(workdir: str, method: Method, state: Any, images: Any, step: int) -> None:
  """Saves what the method makes of the fixed validation pictures, as `figures/step_00001000.png` and `figures/latest.png`."""
  if method.decompose is None and method.pictures is None:
    return
  params = state.params if getattr(state, "ema", None) is None else state.ema
  params = jax.tree.map(lambda leaf: leaf.addressable_data(0), params)  # one device is enough
  sheet = figures.decomposition_sheet(figures.decompose(method, params, images), title=f"step {step}")
  for name in (f"step_{step:08d}.png", "latest.png"):
    figures.save(sheet, os.path.join(workdir, run_dir.FIGURES, name))


def report(summary: dict, workdir: str, say: Callable[[str], None]) -> None:
  """Where things are and what to run next."""
  best, kept = summary["best"], ", ".join(map(str, summary["checkpoints"]))
  say(f"done in {duration(summary['seconds'])}")
  say(f"  checkpoints  {workdir}/{FOLDER} (steps {kept}; lowest {best['metric']}: step {best['checkpoint']})")
  say(f"  figures      {workdir}/{run_dir.FIGURES}/latest.png, training_curves.png")
  say(f"  metrics      {workdir}/{run_dir.METRICS}, and for a browser: tensorboard --logdir {workdir}/tensorboard")
  say("  next         open the figures; to train on, the same command with a larger --config.train.steps")
  say(f"               python -m pdr_jax.evaluate --workdir {workdir}")


class StopRequest:
  """While it is open, the first SIGTERM or SIGINT only sets `requested` to its number: the loop saves and leaves. A second acts as ever."""

  def __init__(self):
    self.requested = 0
    self._before: dict[int, Any] = {}

  def __enter__(self) -> "StopRequest":
    if threading.current_thread() is threading.main_thread():  # Python allows handlers only there
      self._before = {number: signal.signal(number, self._request) for number in (signal.SIGTERM, signal.SIGINT)}
    return self

  def _request(self, number: int, _frame: Any) -> None:
    self.requested = number
    self._restore()

  def __exit__(self, *_: Any) -> None:
    self._restore()

  def _restore(self) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)
    self._before = {}
