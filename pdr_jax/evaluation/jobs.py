"""The jobs of an evaluation's tasks: which there are, and what each gives or gave at an earlier start."""

import functools
import json
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pdr_jax.errors import UserError
from pdr_jax.evaluation import batches, extract, records, representations, task
from pdr_jax.evaluation.features import labelled, size
from pdr_jax.evaluation.records import Result
from pdr_jax.files import write_text

SHOWN = 8  # names in a line


def of_tasks(
    contexts: Mapping[str, task.Context],
) -> Iterator[tuple[task.Context, str, Callable[[], Result]]]:
  """All jobs of all tasks. A task that fails to say what it reads or what its jobs are is one that fails.

  Tasks for which the data have nothing are told at the end.
  """
  idle = []
  for asked, context in contexts.items():
    try:
      context = context._replace(also=task.find(asked).also_reads(context.settings))
      jobs = list(task.find(asked).jobs(context))
    except Exception as error:
      jobs = [(task.section(asked), functools.partial(_raise, error))]
    if not jobs:
      idle.append(asked)
    yield from ((context, name, job) for name, job in jobs)
  if 0 < len(idle) < len(contexts):
    context.say(f"not run, because the data have no label or truth for them: {', '.join(idle)}")


def _raise(error: Exception) -> Result:
  raise error


def result(name: str, job: Callable[[], Result], context: task.Context, folder: str) -> Result:
  """What a job gives, or gave at an earlier start for the same features and settings; kept in `folder`."""
  path = os.path.join(folder, f"{records.file_name(name)}.json")
  key = _key(context)
  given = _finished(path, key)
  if given is None:
    context.say(f"{name} ...")
    given = _run(name, job, folder)
    given = given._replace(task=name, protocol=dict(given.protocol) | {
        "method": context.representation.name,
        "checkpoint_step": context.representation.step,
        "data": context.run.data.name,
        "splits": ["train", context.test_split],
        "key": key,
    })
    records.write(path, given)
  for line in _left_out(given, context):
    context.say(f"{name}: {line}")
  if given.skipped:
    context.say(f"{name}: not run, {given.skipped}")
  if given.failed:
    context.say(f"{name}: failed, {given.failed}")
  return given


def _left_out(result: Result, context: task.Context) -> Iterator[str]:
  """Lines about examples that lack a label of a result, and about classes that nothing was learned of."""
  labels = [name for name in result.protocol.get("labels", ()) if name in context.train.labels]
  for title, part in (("training", context.train), ("test", context.test)):
    count = size(part) - size(labelled(part, labels))
    if count:
      yield f"{count:,} of {size(part):,} {title} examples lack one of its labels, and are left out"
  only = result.protocol.get("only_in_test", ())
  if only:
    shown = ", ".join(only[:SHOWN]) + (", ..." if len(only) > SHOWN else "")
    yield f"{len(only):,} classes are in the test split alone, and are never recognised: {shown}"


def _run(name: str, job: Callable[[], Result], folder: str) -> Result:
  """The result, or why there is none; the trace of an exception goes to a file."""
  try:
    return job()
  except UserError as error:
    return Result(name, {}, skipped=str(error) or "no reason given")
  except Exception as error:  # whatever a task raises: the others shall go on
    trace = os.path.join(folder, f"{records.file_name(name)}.trace.txt")
    write_text(trace, traceback.format_exc())
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return Result(name, {}, failed=f"{line} (its trace is in {trace})")


def _key(context: task.Context) -> str:
  """Changes with all that a result depends on.

  That is more than features, labels and settings: some tasks train networks on batches of the data, or use
  the parts of a representation that no feature comes from.
  """
  config, representation = context.config, context.representation
  asked: dict[str, Any] = {
      "seeds": config.seeds,
      "batch_size": config.batch_size,
      "step": representation.step,
      "data": batches.data_in_words(context.run),
      "labels": list(config.labels),
      "identity": config.identity,
      "settings": context.settings.to_dict(),
      "light_angles": list(config.light_angles),
  }
  splits = {"train": context.train, "test": context.test}
  features: dict[str, Any] = {
      split: {"blocks": part.blocks, "labels": part.labels, "missing": dict(part.missing)}
      for split, part in splits.items()
  }
  return extract.fingerprint({
      **features,
      **representations.parameters_of(representation, context.run),
      "also": dict(context.also),
      "format": records.FORMAT,
      "asked": json.dumps(asked, sort_keys=True),
  })


def _finished(path: str, key: str) -> Result | None:
  """The result of an earlier start, if it was computed from the same features with the same settings.

  What was skipped or failed is tried again.
  """
  try:
    result = records.read(path)
  except UserError:  # absent, damaged, or of an earlier version
    return None
  done = result.protocol.get("key") == key and not result.skipped and not result.failed
  return result if done else None
