"""Methods by tasks in one table.

It trains or loads every method over several seeds, evaluates each, and continues. A method is a name of
`pdr_jax.methods` or a dotted path, with variants of its configuration behind a colon (`pdr:unsup3d`), or a
representation that nothing is trained for (`random`, `pca`, `pixels`). Every run is a run directory of its
own, `METHOD/seed_N`, every finished task a file in it.
"""

import json
import os
from collections.abc import Callable
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from pdr_jax import config as config_lib
from pdr_jax import config_checks
from pdr_jax.errors import UserError
from pdr_jax.evaluation import drawing, joined, study_file
from pdr_jax.evaluation.records import Result, file_name
from pdr_jax.evaluation.representations import UNTRAINED
from pdr_jax.evaluation.run import evaluate
from pdr_jax.evaluation.study_file import Study
from pdr_jax.exports import first_stage, normalized_data
from pdr_jax.files import write_text
from pdr_jax.plots import style
from pdr_jax.study import table
from pdr_jax.training import run_dir, stages
from pdr_jax.training.loop import train


class Entry(NamedTuple):
  """One run of a study: which method, which seed, its configuration and its folder."""

  method: str
  seed: int
  run: ConfigDict
  folder: str

  @property
  def name(self) -> str:
    """For messages."""
    return f"{self.method}, seed {self.seed}"


def run_suite(config: ConfigDict, workdir: str, say: Callable[[str], None] = print) -> int:
  """Everything that `config` asks for and `workdir` does not hold yet.

  `suite.md` and `suite.json` are written after each run, figures at the end. `config` has `methods`, `seeds`
  (how many representations of each), `run` (a training configuration) and `evaluation` (see
  `evaluation.config`).

  Returns the exit code: 0, 1 where a task of an evaluation failed, or that of a training that a signal
  stopped. A run that fails (a loss that is not finite) is named in the table and the others go on. Raises
  `UserError` for a configuration that cannot be, or where every run failed.
  """
  entries = plan(config, workdir)
  study, results = Study({}, {}), {}
  broken = False
  for number, entry in enumerate(entries, 1):
    say(f"[{number} of {len(entries)}] {entry.name}")
    try:
      code = _train(entry, say)
      if code:
        say("the suite is stopped: the same command continues from there")
        return code
      method = entry.method if entry.method in UNTRAINED else "trained"
      outcome = evaluate(config.evaluation, entry.folder, method, say=say)
    except UserError as error:
      say(f"{entry.name}, failed: {error}")
      study.failed[entry.name] = str(error)
    else:
      broken |= bool(outcome.failed)
      study.methods.setdefault(entry.method, []).append(entry.folder)
      results.setdefault(entry.method, []).append(outcome.results)
      study.failed.update({f"{entry.name}, {task}": outcome.results[task].failed for task in outcome.failed})
    if results:
      write(config, workdir, study, results)
  if not results:
    name, reason = next(iter(study.failed.items()))
    raise UserError(f"every run of the suite failed; the first, {name}: {reason}")
  draw(workdir, results)
  say(f"results in {workdir}: suite.md, suite.json and figures/")
  return 1 if broken else 0


def plan(config: ConfigDict, workdir: str) -> list[Entry]:
  """The runs in their order. Raises `UserError` for a configuration that cannot be."""
  runs = {method: configuration(config.run, method) for method in config.methods}
  for run in runs.values():
    config_checks.validate(run, jax.device_count())
  entries = []
  for seed in range(config.seeds):
    for method, run in runs.items():
      if seed and method in UNTRAINED and not UNTRAINED[method].seeded:
        continue  # the same for every seed
      run = run.copy_and_resolve_references()
      run.seed = seed
      folder = os.path.join(workdir, method.replace(":", "_"), f"seed_{seed}")
      entries.append(Entry(method, seed, run, folder))
  return entries


def configuration(run: ConfigDict, method: str) -> ConfigDict:
  """The training configuration of a method of the study."""
  if method in UNTRAINED:
    return config_lib.for_method(run, run.method)
  name, _, variants = method.partition(":")
  try:
    return config_lib.variant(config_lib.for_method(run, name), variants)
  except (UserError, ValueError) as error:
    raise UserError(f"config.methods: {method}: {error}") from error


def _train(entry: Entry, say: Callable[[str], None]) -> int:
  """Trains where that is not done yet; the exit code."""
  if entry.method in UNTRAINED:
    run_dir.check_run(entry.folder, entry.run, say=say)
    run_dir.record_start(entry.folder, entry.run)
    stages.write_record(entry.folder, stages.record_of_first(entry.run))
    return 0
  if _steps(entry.folder) == entry.run.train.steps:
    run_dir.check_run(entry.folder, entry.run, say=say)  # of another configuration?
    say(f"{entry.folder} is trained")
    return 0
  normalized_data.prepare(entry.run, say)
  return train(entry.run, entry.folder, read_first=first_stage.read).exit_code


def _steps(folder: str) -> int | None:
  """How far a run has got that was trained to its end."""
  try:
    with open(os.path.join(folder, run_dir.SUMMARY), encoding="utf-8") as file:
      return json.load(file)["step"]
  except (OSError, ValueError, KeyError):
    return None


def write(config: ConfigDict, workdir: str, study: Study, results: joined.Results) -> None:
  """Writes the table of what is there so far.

  `results` are those of the evaluations by method, one for each seed.
  """
  rows = joined.rows(results)
  study_file.write(workdir, study, rows, config.copy_and_resolve_references().to_dict())
  document = table.markdown(rows, list(results), study.failed, _sizes(config))
  write_text(os.path.join(workdir, study_file.TABLE), document)


def draw(workdir: str, results: dict[str, list[dict[str, Result]]]) -> None:
  """Curves of all methods, and each method's matrices, into `figures/`."""
  folder = os.path.join(workdir, "figures")
  for drawn in joined.curves(results):
    figure = drawing.of_curves(drawn, f"{drawn.figure.title}, all features")
    style.save(figure, os.path.join(folder, f"{file_name(drawn.task)}.png"))
  for drawn in joined.matrices(results):
    figure = drawing.of_matrix(drawn, f"{drawn.method}: {drawn.figure.title}")
    name = f"{file_name(drawn.task)}_{drawn.method.replace(':', '_')}"
    style.save(figure, os.path.join(folder, f"{name}.png"))


def _sizes(config: ConfigDict) -> str:
  data, training = config.run.data, config.run.train
  return (
      f"{data.name}, {data.side} x {data.side}, {training.steps:,} steps of batch {training.batch_size}, "
      f"{config.seeds} representations, {config.evaluation.seeds} probes of each"
  )
