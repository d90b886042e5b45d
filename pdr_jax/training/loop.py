"""The training loop, one for every method: data, state (fresh or from a checkpoint), steps; logs, validation, figures, checkpoints."""

import functools
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from pdr_jax import methods
from pdr_jax.data import pipeline
from pdr_jax.errors import UserError
from pdr_jax.files import write_json
from pdr_jax.methods import Method
from pdr_jax.training import distributed, nonfinite, run_dir
from pdr_jax.training import step as steps
from pdr_jax.training.cadence import dispatches, is_due, looks_at_state
from pdr_jax.training.checkpoints import FOLDER, Checkpoints
from pdr_jax.training.intake import Intake
from pdr_jax.training.logging import Meter, MetricLog, NonFinite, Progress, duration, read_metrics, stop_message, summary_table
from pdr_jax.training.preemption import AGAIN, StopRequest
from pdr_jax.training.profile import Profile
from pdr_jax.training.validation import Validator
from pdr_jax.training.watchdog import Watchdog

AHEAD = 2  # dispatches that the host may be ahead of the device: enough to keep it busy, few enough that a failure shows at once


class Data(NamedTuple):
  """What a run reads: an endless iterator with `get_state`/`set_state`, finite validation batches in fixed order, and a line about both."""

  train: Any
  validation: Iterable[dict]
  description: str


class Result(NamedTuple):
  """`exit_code` is 0, or `preemption.AGAIN` when a signal stopped the run; `summary` is what `summary.json` holds (None when stopped)."""

  exit_code: int
  summary: dict | None


def open_data(config: ConfigDict) -> Data:
  """The data of a configuration. Raises `UserError`."""
  place = dict(process_index=jax.process_index(), process_count=jax.process_count())
  if jax.process_index() > 0:
    distributed.meet()  # the first process prepares alone what all of them read
  description = pipeline.describe(config).summary()
  if jax.process_index() == 0:
    distributed.meet()
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

  Raises `UserError` for what the user can mend, a loss that stopped being finite and a full disk included; the last good checkpoint then
  stays. Of several processes each calls it with its part of the data; only the first one uses `workdir`.
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
  distributed.connect()
  restored = None
  if checkpoints.steps() or jax.process_count() > 1:  # the shapes of a state take seconds
    restored = checkpoints.restore_latest(steps.abstract_state(method, config.seed, example))
  if restored:
    state, start, run = restored.state, restored.step, restored.run
    data.train.set_state(run["position"])
    tell(f"continuing from the checkpoint of step {start}")
  else:
    state, start, run = steps.initial_state(method, config.seed, example), 0, {}
  distributed.name_processes(run_dir.record_start(workdir, config))
  best, validated = run.get("best"), run.get("validated")
  seconds_before, begun = run.get("seconds", 0.0), time.monotonic()

  # ---------------------------------------------------------------- programs
  trained = nonfinite.skipping(method) if cadence.skip_nonfinite else method
  update, updates = steps.update_fn(trained), steps.updates_fn(trained)
  gradient_norms = steps.gradient_norms_fn(method)
  validator = Validator(method, data.validation, config)
  if start < cadence.steps:
    validator.check_best_metric(state, cadence.best_metric)
  root = steps.stream(config.seed, "update")
  feed = pipeline.prefetch(data.train, steps.place, AHEAD)
  log = MetricLog(workdir, start, primary=primary)
  progress = Progress(start, cadence.steps, cadence.batch_size, primary=primary)
  watchdog = Watchdog(cadence.stall_minutes, progress.say)
  intake = Intake(workdir, cadence, run.get("meter"), log=log, progress=progress, watchdog=watchdog)
  profile = Profile(workdir, cadence.profile_steps if primary else (), progress.say)
  due = functools.partial(is_due, last=cadence.steps)

  def look(step: int) -> dict | None:
    """Validation and figures where they are due; returns the scores of a validation."""
    nonlocal best, validated
    scores = None
    watchdog.at(f"validating and drawing step {step}")
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
    watchdog.at(f"saving step {step}")
    bad = steps.first_nonfinite(state)
    if bad:
      raise NonFinite(step, bad, float("nan"), nonfinite.write_batch(workdir, step, batches[-1]))
    seconds = seconds_before + time.monotonic() - begun
    run = dict(position=feed.get_state(), meter=intake.meter.sums(), best=best, validated=validated, seconds=seconds, owed=owed)
    log.publish()
    checkpoints.save(step, state, run, metrics)

  # ---------------------------------------------------------------- steps
  try:
    if run.get("owed"):
      look(start)
    with StopRequest(cadence.grace_seconds) as stop:
      for together in dispatches(start, cadence):
        step = together[-1]
        watchdog.at(f"reading the batch of step {step}")
        batches = [next(feed) for _ in together]
        if profile.begins(together):
          intake.finish()
          profile.start()
        watchdog.at(f"compiling or starting step {step}")
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
          state, metrics = update(state, batches[0], root) if len(batches) == 1 else updates(state, batches, root)
        intake.put(together, metrics, batches)
        intake.finish(leave=AHEAD)
        if profile.ends(together):
          intake.finish()
          profile.close()

        stopping = stop.agreed()
        if not (stopping or looks_at_state(step, cadence)):
          continue
        intake.finish()
        progress.pause()
        if due(step, cadence.gradient_norms_every):
          norms = Meter()
          norms.add(step, gradient_norms(state, batches[-1], root).fetch())
          log.write(step, norms.means())
        # Before the next batch is drawn: the position in the checkpoint is that of the batch just used.
        if stopping:  # whoever sent it may not wait for a validation
          save(step, None, owed=True)
          checkpoints.wait()
          progress.say(f"stopped by {stop.reason()}; saved step {step}: the same command continues from there")
          return Result(AGAIN, None)
        scores = look(step)
        if due(step, cadence.checkpoint_every) or (scores and best["step"] == step):
          save(step, scores)
        progress.pause()
    checkpoints.wait()
    kept, best_kept = checkpoints.steps(), checkpoints.best_step()
  except NonFinite as error:
    checkpoints.wait()
    raise stop_message(error, max(checkpoints.steps(), default=None), workdir) from error
  except Exception as error:
    if run_dir.disk_is_full(error):
      raise UserError(f"no room is left on the disk of {workdir}: make some; the same command continues the run") from error
    raise
  finally:
    close((profile, watchdog, progress, feed, log, checkpoints), quietly=sys.exc_info()[1] is not None)

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
    from pdr_jax.report import figures  # Matplotlib: slow to import

    figures.save(figures.training_curves(read_metrics(workdir)), os.path.join(workdir, run_dir.FIGURES, "training_curves.png"))
    report(summary, workdir, progress.say)
    progress.console.print(summary_table(summary))
  return Result(0, summary)


def close(resources: Iterable[Any], *, quietly: bool) -> None:
  """Closes all of them, whatever one of them raises. `quietly`: an error ends the run already, and stays the one that is told."""
  failed = None
  for resource in resources:
    try:
      resource.close()
    except Exception as error:  # such as what could not be written
      failed = failed or error
  if failed and not quietly:
    raise failed


def draw(workdir: str, method: Method, state: Any, images: Any, step: int) -> None:
  """Saves what the method makes of the fixed validation pictures, as `figures/step_00001000.png` and `figures/latest.png`."""
  if method.decompose is None and method.pictures is None:
    return
  from pdr_jax.report import figures  # Matplotlib: slow to import, and the first step need not wait for it

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
