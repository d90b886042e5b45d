"""One worker of a study: it takes one run after the other, trains and evaluates it, and continues.

Any number of workers, on one machine or on many with a shared folder, work on one study. Each run is a run
directory of its own, `METHOD/seed_N`, and whoever works on it holds its lock (`training.run_lock`): no run is
in work twice, and a run whose process has died is taken over from its newest checkpoint.
"""

import datetime
import gc
import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence

import jax
from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.evaluation import drawing, joined, learning, study_file, task
from pdr_jax.evaluation.records import Result, about_of, file_name
from pdr_jax.evaluation.run import evaluate, read_results
from pdr_jax.evaluation.study_file import Study
from pdr_jax.exports import first_stage, normalized_data
from pdr_jax.files import write_text
from pdr_jax.plots import style
from pdr_jax.study import document, plan, state, table
from pdr_jax.study.plan import Entry
from pdr_jax.study.state import Record
from pdr_jax.training import run_dir, run_lock, stages
from pdr_jax.training.loop import train

DEATHS = 3  # of a run's process without any progress, after which the run has failed
PAUSE = 5.0  # seconds between looks at runs that other workers have in work


def work(
    config: ConfigDict,
    workdir: str,
    *,
    only: Sequence[str] = (),
    again: bool = True,
    pause: float = PAUSE,
    say: Callable[[str], None] = print,
) -> int:
  """Everything that `config` asks for, `workdir` does not hold yet, and no other worker has in work.

  `study.md` and `study.json` are written after each run, figures at the end. `config` has `methods`, `seeds`
  (how many representations of each), `run` (a training configuration) and `evaluation` (see
  `evaluation.config`); it may have a `question`, `pictures` (the budget of each method) and `changes` (named
  variants).

  Args:
    only: names of runs or methods; other runs are left alone.
    again: with `only`: runs that failed are tried again.
    pause: seconds between looks at the runs of other workers. A worker stays until nothing is left, so that
      it takes over what another one leaves.

  Returns the exit code: 0, 1 where a run or a task of an evaluation failed, or that of a training that a
  signal stopped. Raises `UserError` for a configuration that cannot be.
  """
  everything = plan.plan(config, workdir)
  prepare(config, workdir, only if again else ())
  entries = plan.select(everything, only)
  worked = False
  while True:
    code, took, busy = _pass(entries, say, lambda: write(config, workdir, everything))
    if code:
      say("the study is stopped: the same command continues from there")
      return code
    worked |= took
    if not busy:
      break
    if not took:
      time.sleep(pause)
  states = [state.of(entry) for entry in everything]
  if table.SO_FAR in _table(workdir) and len(records_of(everything)) == len(everything):
    write(config, workdir, everything)  # another worker, with fewer results, has written after the last one
  if worked or not os.path.isdir(os.path.join(workdir, "figures")):
    folders: dict[str, list[str]] = {}
    for entry in everything:
      if entry.trained:
        folders.setdefault(entry.method, []).append(entry.folder)
    draw(workdir, results_of(everything), learning.curves(folders))
  for line in state.lines(everything, states):
    say(line)
  say(f"results in {workdir}: study.md, study.json and figures/")
  return int(any(entry_state.kind == state.FAILED for entry_state in states))


def prepare(config: ConfigDict, workdir: str, only: Sequence[str]) -> list[Entry]:
  """The runs that `only` names, or all; writes the study's files, and forgets that runs in `only` failed.

  Raises `UserError` for a configuration that cannot be, and where a run was started with another one.
  """
  entries = plan.plan(config, workdir)
  chosen = plan.select(entries, only)
  advice = "Choose another --workdir, or delete that folder to begin it anew"
  for entry in entries:
    if os.path.exists(os.path.join(entry.folder, run_dir.CONFIG)):
      run_dir.check_run(entry.folder, entry.run, say=_quiet, advice=advice)
  for entry in chosen if only else ():
    record = state.read(entry)
    if record is not None and record.state == state.FAILED:
      state.forget(entry)
  write(config, workdir, entries)
  return chosen


def _pass(
    entries: Sequence[Entry], say: Callable[[str], None], done: Callable[[], None]
) -> tuple[int, bool, bool]:
  """Takes every run that is free, one after the other, and calls `done()` after each.

  Returns the exit code of a training that a signal stopped, or 0; whether a run was taken; whether there are
  runs that others have in work.
  """
  took = busy = False
  for number, entry in enumerate(entries, 1):
    if state.read(entry) is not None:
      continue
    os.makedirs(entry.folder, exist_ok=True)
    try:
      with run_lock.hold(entry.folder, say, state.LOCK):
        if state.read(entry) is not None:  # ended meanwhile
          continue
        say(f"[{number} of {len(entries)}] {entry.name}")
        code = _run(entry, say)
        state.end(entry)
    except run_lock.InUse:
      busy = True
      continue
    if code:
      return code, took, busy
    took = True
    jax.clear_caches()  # the next run has other programs
    gc.collect()
    done()
    say(state.summary(entries, [state.of(other) for other in entries]))
  return 0, took, busy


def _run(entry: Entry, say: Callable[[str], None]) -> int:
  """Trains and evaluates a run, and leaves its record; the exit code of a training that was stopped."""
  began, reason, budget, about = time.monotonic(), "", {}, {}
  try:
    if state.begin(entry) >= DEATHS:
      raise UserError(f"its process died {DEATHS} times at the same place (was it killed for its memory?)")
    code = _train(entry, say)
    if code:
      return code
    budget = state.budget_of(entry)
    outcome = evaluate(entry.evaluation, entry.folder, entry.representation, say=say)
    failed = [f"{name}: {outcome.results[name].failed}" for name in outcome.failed]
    reason = "; ".join(failed)
    folder = os.path.relpath(outcome.folder, entry.folder)
    about = {"folder": folder, "about": about_of(outcome.folder)}
  except (run_lock.InUse, KeyboardInterrupt):  # somebody trains in this folder without the study; Ctrl-C
    state.end(entry)
    raise
  except Exception as error:  # whatever a run raises: the others shall go on
    words = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    reason = " ".join(words.split()) or type(error).__name__
    text = traceback.format_exc()
    write_text(os.path.join(entry.folder, state.TRACE), text)
  if reason:
    say(f"{entry.name}, failed: {reason}")
  elapsed = time.monotonic() - began
  program = run_dir.about_start(datetime.datetime.now(datetime.UTC))
  kind = state.FAILED if reason else state.DONE
  seconds = max(elapsed, budget.get("seconds", 0.0))
  state.write(entry, Record(kind, entry.key, reason, seconds, budget, program, about))
  return 0


def _train(entry: Entry, say: Callable[[str], None]) -> int:
  """Trains where that is not done yet; the exit code."""
  if not entry.trained:
    run_dir.check_run(entry.folder, entry.run, say=say)
    run_dir.record_start(entry.folder, entry.run)
    stages.write_record(entry.folder, stages.record_of_first(entry.run))
    return 0
  if state.is_trained(entry):
    run_dir.check_run(entry.folder, entry.run, say=say)  # of another configuration?
    say(f"{entry.folder} is trained")
    return 0
  normalized_data.prepare(entry.run, say)
  return train(entry.run, entry.folder, read_first=first_stage.read).exit_code


# ---------------------------------------------------------------- what the study gives


def results_of(entries: Sequence[Entry]) -> joined.Results:
  """What the runs that have ended gave, by method, one evaluation a seed; tasks in the order asked for."""
  results: dict[str, list[dict[str, Result]]] = {}
  for entry in entries:
    if state.read(entry) is not None:
      order = [task.section(name) for name in entry.evaluation.tasks]
      evaluation = read_results(entry.folder, entry.representation)
      names = sorted(evaluation, key=lambda name: (_place(name.split("/")[0], order), name))
      if evaluation:
        results.setdefault(entry.method, []).append({name: evaluation[name] for name in names})
  return results


def _place(name: str, order: Sequence[str]) -> int:
  return order.index(name) if name in order else len(order)


def records_of(entries: Sequence[Entry]) -> dict[str, Record]:
  """The records of the runs that have ended, by their names."""
  records = {entry.name: state.read(entry) for entry in entries}
  return {name: record for name, record in records.items() if record is not None}


def failures(records: Mapping[str, Record]) -> dict[str, str]:
  """Why runs failed, by their names."""
  return {name: record.reason for name, record in records.items() if record.state == state.FAILED}


def write_section(studies: Mapping[str, ConfigDict], path: str, how: str) -> None:
  """Writes the section of one study, or of several as one table, into a document, see `document`.

  Args:
    studies: configurations by folder; the first gives the title.
    path: of the document.
    how: the command that does so.

  Raises `UserError` where no run of a study has ended.
  """
  parts = []
  for workdir, config in studies.items():
    entries = plan.plan(config, workdir)
    records = records_of(entries)
    if not records:
      raise UserError(f"no run of the study in {workdir} has ended: there is nothing to write yet")
    left = len(entries) - len(records)
    parts.append(document.Part(workdir, config.run.data.name, results_of(entries), records, left))
  name = "+".join(os.path.basename(part.folder) for part in parts)
  (config, *others) = studies.values()
  heading = question(config) if others else title(config)
  blocks = tuple(dict.fromkeys(block for each in studies.values() for block in _blocks_of(each)))
  document.write(path, name, document.section(heading, parts, blocks), how)


def write(config: ConfigDict, workdir: str, entries: Sequence[Entry]) -> None:
  """Writes `study.json` and `study.md` of what is there so far."""
  study, records = Study({}, {}), records_of(entries)
  for entry in entries:
    if entry.name in records:
      study.methods.setdefault(entry.method, []).append(entry.folder)
  study.failed.update(failures(records))
  results = results_of(entries)
  every = joined.samples(results)
  study_file.write(workdir, study, joined.rows_of(every), config.copy_and_resolve_references().to_dict())
  left = len(entries) - len(records)
  about = {"left": left, "blocks": _blocks_of(config)}
  text = table.markdown(every, list(results), study.failed, title(config), records, **about)
  write_text(os.path.join(workdir, study_file.TABLE), text)


def _table(workdir: str) -> str:
  with open(os.path.join(workdir, study_file.TABLE), encoding="utf-8") as file:
    return file.read()


def draw(workdir: str, results: joined.Results, probe: Sequence[joined.Curves] = ()) -> None:
  """Curves of all methods, those of the light probe too, and each method's matrices, into `figures/`."""
  folder = os.path.join(workdir, "figures")
  for drawn in probe:
    style.save(drawing.of_curves(drawn, drawn.figure.title), os.path.join(folder, f"{drawn.task}.png"))
  for drawn in joined.curves(results):
    figure = drawing.of_curves(drawn, f"{drawn.figure.title}, all features")
    style.save(figure, os.path.join(folder, f"{file_name(drawn.task)}.png"))
  for drawn in joined.matrices(results):
    figure = drawing.of_matrix(drawn, f"{drawn.method}: {drawn.figure.title}")
    name = f"{file_name(drawn.task)}_{drawn.method.replace(':', '_')}"
    style.save(figure, os.path.join(folder, f"{name}.png"))


def title(config: ConfigDict) -> str:
  """The study's question, and its sizes."""
  data, training = config.run.data, config.run.train
  pictures = config.get("pictures", 0) or training.steps * training.batch_size
  sizes = (
      f"{data.name}, {data.side} x {data.side}, at most {pictures:,} pictures seen, {config.seeds} "
      f"representations, {config.evaluation.seeds} probes of each"
  )
  return f"{question(config)} ({sizes})"


def question(config: ConfigDict) -> str:
  """What the study asks."""
  return config.get("question", "") or "Methods by tasks"


def _blocks_of(config: ConfigDict) -> tuple[str, ...]:
  """The feature blocks that have a column of their own."""
  return tuple(config.get("blocks", ()))


def _quiet(line: str) -> None:
  """Says nothing."""
