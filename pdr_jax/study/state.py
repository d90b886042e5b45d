"""How far the runs of a study are, read from the study's folder alone: any process on any machine may ask.

A run that has ended leaves `study_run.json` in its folder, a failed one `study_trace.txt` too. A run that is
in work has the lock `study.lock`.
"""

import contextlib
import glob
import json
import os
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pdr_jax.evaluation import records
from pdr_jax.files import write_json
from pdr_jax.study.plan import Entry
from pdr_jax.training import checkpoints, run_dir, run_lock
from pdr_jax.training.metric_log import read_metrics
from pdr_jax.training.progress import duration

RECORD, TRACE, LOCK, START = "study_run.json", "study_trace.txt", "study.lock", "study_start.json"
FORMAT = 1  # of the record
DONE, FAILED, RUNNING, WAITING = "done", "failed", "running", "waiting"
EVALUATED = "evaluation/**/*.json"  # what an evaluation has finished
ORDER = (RUNNING, FAILED, DONE, WAITING)


class Record(NamedTuple):
  """What a run leaves that has ended.

  Attributes:
    state: `done` or `failed`.
    key: of its entry, when it ended.
    reason: why it failed.
    seconds: of training (all starts) and evaluation (the last one).
    budget: of training: steps, pictures, seconds, processor_seconds, stopped; empty where nothing is trained.
    program: command, commit, libraries, machine and time of the start that ended it.
    evaluation: `folder` of its results, from the run's, and what they are `about`, see `records.about_of`;
      empty where the evaluation raised an error, and in records of earlier versions.
  """

  state: str
  key: str
  reason: str
  seconds: float
  budget: dict[str, Any]
  program: dict[str, Any]
  evaluation: Mapping[str, str] = types.MappingProxyType({})


class State(NamedTuple):
  """Where a run is.

  Attributes:
    kind: `running`, `failed`, `done` or `waiting`.
    record: of a run that has ended.
    holder: the process that has it in work, in words.
    step: how far its training has got.
    speed: pictures a second, None where it is not known.
  """

  kind: str
  record: Record | None = None
  holder: str = ""
  step: int = 0
  speed: float | None = None


def write(entry: Entry, record: Record) -> None:
  """Leaves the record of a run that has ended."""
  values = record._asdict() | {"evaluation": dict(record.evaluation)}
  write_json(os.path.join(entry.folder, RECORD), {"format": FORMAT} | values)


def read(entry: Entry) -> Record | None:
  """The record of a run; None where it has not ended, or was another (of another configuration).

  None as well where the results of a run that is done are gone, or are of another model or other data since
  somebody evaluated the run by hand: they are made again.
  """
  try:
    with open(os.path.join(entry.folder, RECORD), encoding="utf-8") as file:
      value = json.load(file)
    record = Record(**{name: value[name] for name in Record._fields if name in value})
  except (OSError, ValueError, KeyError, TypeError):
    return None
  if value.get("format") != FORMAT or record.key != entry.key:
    return None
  return None if record.state == DONE and not _is_evaluated(entry, record) else record


def _is_evaluated(entry: Entry, record: Record) -> bool:
  there, own = record.evaluation.get("about"), record.evaluation.get("folder", "")
  return bool(_evaluated(entry)) and there in (None, records.about_of(os.path.join(entry.folder, own)))


def _evaluated(entry: Entry) -> list[str]:
  """The files of what an evaluation has finished."""
  return glob.glob(os.path.join(glob.escape(entry.folder), EVALUATED), recursive=True)


def forget(entry: Entry) -> None:
  """Removes the record, so that the run is tried again."""
  for name in (RECORD, TRACE, START):
    path = os.path.join(entry.folder, name)
    if os.path.exists(path):
      os.remove(path)


def begin(entry: Entry) -> int:
  """Notes that a process begins with the run, until `end`.

  Returns how many before it died in a row without getting any further.
  """
  path, deaths = os.path.join(entry.folder, START), 0
  reached = [_newest_checkpoint(entry.folder), len(_evaluated(entry))]
  try:
    with open(path, encoding="utf-8") as file:
      before = json.load(file)
    deaths = before["deaths"] + 1 if before["reached"] == reached else 0
  except (OSError, ValueError, KeyError, TypeError):  # none, or the disk was full
    deaths = 0
  write_json(path, {"reached": reached, "deaths": deaths})
  return deaths


def end(entry: Entry) -> None:
  """Notes that the process has not died."""
  with contextlib.suppress(FileNotFoundError):
    os.remove(os.path.join(entry.folder, START))


def _newest_checkpoint(folder: str) -> int:
  try:
    names = os.listdir(os.path.join(folder, checkpoints.FOLDER))
  except FileNotFoundError:
    return 0
  return max((int(name) for name in names if name.isdecimal()), default=0)


def of(entry: Entry) -> State:
  """Where a run is now."""
  record = read(entry)
  if record is not None:
    return State(record.state, record)
  holder = run_lock.holder(entry.folder, LOCK)
  step, speed = 0, None
  if entry.trained:
    for line in read_metrics(entry.folder):
      step, speed = line["step"], line.get("speed/images_per_second", speed)
  return State(RUNNING if holder else WAITING, None, holder, step, speed)


# ---------------------------------------------------------------- in words


def seconds_left(entries: Sequence[Entry], states: Sequence[State]) -> float | None:
  """How long the study takes from here, with as many workers as there are; None where nothing tells.

  A run takes as long as those of its method did that are done, or else those of all methods. One that trains
  already takes what its speed says.
  """
  whole: dict[str, list[float]] = {}
  for entry, state in zip(entries, states, strict=True):
    if state.kind == DONE:
      whole.setdefault(entry.method, []).append(state.record.seconds)
  trained = [second for entry in entries if entry.trained for second in whole.get(entry.method, ())]
  left = []
  for entry, state in zip(entries, states, strict=True):
    if state.kind not in (RUNNING, WAITING):
      continue
    alike = whole.get(entry.method) or (trained if entry.trained else [0.0])
    missing = 1.0 - state.step / entry.run.train.steps
    pictures = entry.run.train.batch_size * (entry.run.train.steps - state.step)
    if alike:
      left.append(float(np.mean(alike)) * missing)
    elif state.speed:
      left.append(pictures / state.speed)
    else:
      left.append(None)
  known = [second for second in left if second is not None]
  if left and not known:
    return None
  workers = max(1, sum(state.kind == RUNNING for state in states))
  unknown = (len(left) - len(known)) * (float(np.mean(known)) if known else 0.0)
  return (sum(known) + unknown) / workers


def summary(entries: Sequence[Entry], states: Sequence[State]) -> str:
  """One line: how many runs are where, and how long is left."""
  counts = [f"{sum(state.kind == kind for state in states)} {kind}" for kind in (DONE, *ORDER[:2], WAITING)]
  line = f"{len(entries)} runs: {', '.join(counts)}"
  if all(state.kind in (DONE, FAILED) for state in states):
    return line
  left = seconds_left(entries, states)
  workers = max(1, sum(state.kind == RUNNING for state in states))
  with_workers = f"with {workers} worker{'s' * (workers > 1)}"
  return f"{line}; {'time left unknown' if left is None else f'about {duration(left)} left {with_workers}'}"


def lines(entries: Sequence[Entry], states: Sequence[State]) -> list[str]:
  """The summary, and a line for each run."""
  width = max(len(entry.name) for entry in entries)
  told = [summary(entries, states)]
  for entry, state in sorted(zip(entries, states, strict=True), key=lambda pair: ORDER.index(pair[1].kind)):
    told.append(f"  {state.kind:<8} {entry.name:<{width}}  {_about(entry, state)}".rstrip())
  return told


def _about(entry: Entry, state: State) -> str:
  if state.kind == FAILED:
    trace = os.path.join(entry.folder, TRACE)
    see = f" (trace: {trace})" if os.path.exists(trace) else ""
    return f"{state.record.reason}{see}; to try it again: --only {entry.name}"
  if state.kind == DONE:
    return budget_in_words(state.record)
  parts = []
  if entry.trained and state.step:
    parts.append(f"step {state.step} of {entry.run.train.steps}")
  if state.kind == RUNNING:
    parts += [f"{state.speed:.1f} images/s"] if state.speed else []
    parts.append(state.holder)
  return ", ".join(parts)


def budget_in_words(record: Record) -> str:
  """`3,200 pictures, 0:12:01, processor 0:20:40, all 200 steps`."""
  budget = record.budget
  if not budget:
    return "nothing trained"
  parts = [f"{budget['pictures']:,} pictures in {duration(budget['seconds'])}"]
  if budget.get("processor_seconds") is not None:
    parts.append(f"processor {duration(budget['processor_seconds'])}")
  return ", ".join([*parts, *filter(None, [budget.get("stopped")])])


def is_trained(entry: Entry) -> bool:
  """Whether the training has come to its end: all steps, or as far as its patience reached."""
  try:
    with open(os.path.join(entry.folder, run_dir.SUMMARY), encoding="utf-8") as file:
      value = json.load(file)
    return value.get("steps", value["step"]) == entry.run.train.steps
  except (OSError, ValueError, KeyError):
    return False


def budget_of(entry: Entry) -> dict[str, Any]:
  """What the training of a run has cost, from its summary; empty where nothing is trained."""
  if not entry.trained:
    return {}
  with open(os.path.join(entry.folder, run_dir.SUMMARY), encoding="utf-8") as file:
    summary = json.load(file)
  pictures = summary["step"] * entry.run.train.batch_size
  return {
      "steps": summary["step"],
      "pictures": pictures,
      "seconds": summary.get("seconds", 0.0),
      "processor_seconds": summary.get("processor_seconds"),
      "stopped": summary.get("stopped", ""),
  }
