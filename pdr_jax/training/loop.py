"""The training loop, one for every method: data, state (fresh or restored), steps, and what was learned."""

import functools
import importlib.util
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
from etils import epath
from ml_collections import ConfigDict

from pdr_jax import methods
from pdr_jax.config import flatten
from pdr_jax.data import class_counts, pipeline
from pdr_jax.elements import ElementSpec
from pdr_jax.errors import UserError
from pdr_jax.files import write_json
from pdr_jax.methods import Method
from pdr_jax.training import distributed, run_dir, run_lock, stages
from pdr_jax.training import step as steps
from pdr_jax.training.cadence import dispatches, looks_at_state
from pdr_jax.training.checkpoints import FOLDER, Checkpoints
from pdr_jax.training.metric_log import read_metrics
from pdr_jax.training.nonfinite import NonFinite, stop_message
from pdr_jax.training.preemption import AGAIN, StopRequest
from pdr_jax.training.progress import duration, summary_table
from pdr_jax.training.run import Run, Start


class Data(NamedTuple):
  """What a run reads.

  Attributes:
    train: an endless iterator with `get_state` and `set_state`.
    validation: finite batches in fixed order, with `_mask`.
    description: a line about both.
    elements: what a batch of validation holds, where the data tell it.
  """

  train: Any
  validation: Iterable[dict]
  description: str
  elements: ElementSpec | None = None


class Result(NamedTuple):
  """`exit_code` is 0, or `preemption.AGAIN` when a signal stopped the run.

  `summary` is what `summary.json` holds; None when the run was stopped.
  """

  exit_code: int
  summary: dict | None


def train(
    config: ConfigDict, workdir: str, *, override_config: bool = False, method: Method | None = None,
    data: Data | None = None, read_first: Callable[[str], tuple[dict, dict]] = stages.read_run,
    before: Callable[[], None] = lambda: None
) -> Result:
  """Trains until `config.train.steps`, or until `config.train.patience` is over.

  It continues from the newest checkpoint in `workdir` where there is one.

  Args:
    config: checked by `config_checks.validate`.
    workdir: absolute path of the run directory.
    override_config: continue although the configuration differs from that of the run.
    method: instead of the one that `config.method` names.
    data: instead of that of `config.data`.
    read_first: reads what `config.init_from` names, see `stages.open_method`.
    before: is called when the directory is known to be this start's, before data are read.

  Raises `UserError` for what the user can mend, another start in the same directory, a loss that stopped
  being finite and a full disk included; the last good checkpoint then stays. Of several processes each calls
  it with its part of the data; only the first one uses `workdir`.
  """
  say = functools.partial(print, flush=True) if jax.process_index() == 0 else _say_nothing
  run_dir.check_run(workdir, config, override_config=override_config, say=say)
  with run_lock.hold(workdir, say):
    before()
    return _train(config, workdir, method, data, read_first, say)


def _train(
    config: ConfigDict, workdir: str, method: Method | None, data: Data | None,
    read_first: Callable[[str], tuple[dict, dict]], say: Callable[[str], None]
) -> Result:
  """`train` in a directory that belongs to this start alone."""
  # ---------------------------------------------------------------- data, method
  if data is None:
    config = filled_in(config)
    data = open_data(config)
  checkpoints = open_checkpoints(config, workdir, say)
  record = None
  if method is None:
    resumes = bool(checkpoints.steps())
    method, record = stages.open_method(config, workdir, resumes=resumes, read=read_first)
  say(data.description)
  steps_and_batch = f"batch {config.train.batch_size}, {config.train.steps} steps"
  say(f"{config.method} on {machine()}, {steps_and_batch}, in {workdir}")

  # ---------------------------------------------------------------- state: restored, or fresh
  start = first_state(config, method, data, checkpoints, say)
  distributed.name_processes(run_dir.record_start(workdir, config, data.elements))
  stages.write_record(workdir, record)

  # ---------------------------------------------------------------- steps
  run = Run(config, workdir, method, data, checkpoints, start)
  try:
    if not take_steps(run, config):
      return Result(AGAIN, None)
    checkpoints.wait()
    steps_kept = checkpoints.steps()
    best = checkpoints.best_step()
  except NonFinite as error:
    checkpoints.wait()
    raise stop_message(error, max(checkpoints.steps(), default=None), workdir) from error
  except Exception as error:
    if run_dir.disk_is_full(error):
      full = f"no room is left on the disk of {workdir}"
      raise UserError(f"{full}: make some; the same command continues the run") from error
    raise
  finally:
    run.close(quietly=sys.exc_info()[1] is not None)

  # ---------------------------------------------------------------- what was learned
  summary = run.summary() | {"checkpoints": steps_kept}
  summary["best"] = dict(summary["best"], metric=config.train.best_metric, checkpoint=best)
  if jax.process_index() == 0:
    conclude(summary, config, workdir, run)
  return Result(0, summary)


def filled_in(config: ConfigDict) -> ConfigDict:
  """The configuration with what the method takes from the data, see `Description.from_data`.

  Raises `UserError`.
  """
  description = methods.describe(config.method)
  values = flatten(config)
  empty = [key for key in description.from_data if not values[key]]
  if not empty:
    return config
  classes = distributed.first_alone(lambda: class_counts.of(config))
  filled = ConfigDict(config.to_dict())
  for key in empty:
    section, name = key.split(".")
    filled[section][name] = description.from_data[key](filled, classes)
  description.check(filled, jax.device_count())
  return filled


def open_data(config: ConfigDict) -> Data:
  """The data of a configuration. Raises `UserError`."""
  place = dict(process_index=jax.process_index(), process_count=jax.process_count())
  description = distributed.first_alone(lambda: pipeline.describe(config).summary())
  reads = methods.describe(config.method).reads(config)
  train = pipeline.train_iterator(config, reads, **place)
  validation = pipeline.validation_batches(config, reads=reads, **place)
  return Data(train, validation, description, pipeline.published(config, reads))


def open_checkpoints(config: ConfigDict, workdir: str, say: Callable[[str], None]) -> Checkpoints:
  """The checkpoints of a run directory, by the configuration of the run."""
  train = config.train
  best = dict(best_metric=train.best_metric, best_mode=train.best_mode)
  return Checkpoints(workdir, keep=train.keep_checkpoints, **best, say=say)


def machine() -> str:
  """`4 x NVIDIA H100`."""
  return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def first_state(
    config: ConfigDict, method: Method, data: Data, checkpoints: Checkpoints, say: Callable[[str], None]
) -> Start:
  """The state of the newest checkpoint, with the data at its position; or a fresh one."""
  example = example_of(data)
  distributed.connect()
  restored = None
  if checkpoints.steps() or jax.process_count() > 1:  # the shapes of a state take seconds
    restored = checkpoints.restore_latest(steps.abstract_state(method, config.seed, example))
  if restored is None:
    return Start(steps.initial_state(method, config.seed, example), 0, {})
  data.train.set_state(restored.run["position"])
  say(f"continuing from the checkpoint of step {restored.step}")
  return Start(restored.state, restored.step, restored.run)


def example_of(data: Data) -> dict:
  """A batch of validation as methods get it at their initialisation."""
  return {name: value for name, value in next(iter(data.validation)).items() if name != "_mask"}


def take_steps(run: Run, config: ConfigDict) -> bool:
  """All steps that are left, or as many as `train.patience` allows.

  False when a signal stopped the run and it was saved.
  """
  run.catch_up()
  if run.is_done():
    return True
  with StopRequest(config.train.grace_seconds) as stop:
    for together in dispatches(run.step, config.train):
      run.dispatch(together)
      stopping = stop.agreed()
      if not (stopping or looks_at_state(run.step, config.train)):
        continue
      run.finish()
      run.log_gradient_norms()
      # Before the next batch is drawn: the position in the checkpoint is that of the batch just used.
      if stopping:  # whoever sent it may not wait for a validation
        run.save(owed=True)
        run.checkpoints.wait()
        run.progress.say(
          f"stopped by {stop.reason()}; saved step {run.step}: the same command continues from there"
        )
        return False
      run.look_and_save()
      if run.is_done():
        break
  return True


def conclude(summary: dict, config: ConfigDict, workdir: str, run: Run) -> None:
  """Writes `summary.json` and `figures/training_curves.png`, and tells what was learned and where it is."""
  # Matplotlib is slow to import.
  from pdr_jax.plots import style, training

  write_json(os.path.join(workdir, run_dir.SUMMARY), summary)
  curves = training.training_curves(read_metrics(workdir))
  style.save(curves, os.path.join(workdir, run_dir.FIGURES, "training_curves.png"))
  report(summary, config, workdir, run.progress.say)
  run.progress.console.print(summary_table(summary))


def report(summary: dict, config: ConfigDict, workdir: str, say: Callable[[str], None]) -> None:
  """Where things are and what to run next."""
  best = summary["best"]
  chosen = "none" if best["checkpoint"] is None else f"step {best['checkpoint']}"
  which = f"{config.train.best_mode} {best['metric']}: {chosen}"
  times = f"{duration(summary['seconds'])}, processor time {duration(summary['processor_seconds'])}"
  say(f"done in {times}: {summary['stopped']}")
  say(f"  checkpoints  {workdir}/{FOLDER} (steps {', '.join(map(str, summary['checkpoints']))}; {which})")
  figures = f"{workdir}/{run_dir.FIGURES}"
  drawn = [name for name in ("latest.png", "training_curves.png") if epath.Path(f"{figures}/{name}").exists()]
  if drawn:  # not every method has pictures
    say(f"  figures      {figures}/{', '.join(drawn)}")
  say(f"  metrics      {workdir}/{run_dir.METRICS}")
  board = shlex.join(["tensorboard", "--logdir", f"{workdir}/tensorboard"])
  if importlib.util.find_spec("tensorboard") is None:
    board = f"pip install 'pdr_jax[tensorboard]', then {board}"
  say(f"               and for a browser: {board}")
  longer = "to train on, the same command with a larger --config.train.steps"
  if config.optim.schedule != "constant":  # `run_dir.check_run` refuses it: the rate has fallen to its end
    longer = "to train longer, a larger --config.train.steps and another --workdir"
  say(f"  next         open the figures; {longer}")
  say("               " + shlex.join(["python", "-m", "pdr_jax.evaluate", "--workdir", workdir]))


def _say_nothing(line: str) -> None:
  """In all processes but the first."""
