"""An evaluation: features -> tasks -> results and tables.

The features are those of a run, of an export, or of what nothing is trained for.
"""

import functools
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from pdr_jax.data import pipeline
from pdr_jax.elements import ElementSpec
from pdr_jax.errors import UserError
from pdr_jax.evaluation import (
  batches,
  drawing,
  extract,
  jobs,
  normalized,
  records,
  representations,
  tables,
  task,
)
from pdr_jax.evaluation.features import Features
from pdr_jax.evaluation.records import Result
from pdr_jax.evaluation.representations import Encode, Representation
from pdr_jax.evaluation.tasks import robustness
from pdr_jax.exports import normalized_data
from pdr_jax.files import write_text
from pdr_jax.training import run_dir

FOLDER = "evaluation"


class Outcome(NamedTuple):
  """What an evaluation gave.

  Attributes:
    results: by task.
    folder: where they are.
    failed: names of the tasks that an exception ended.
  """

  results: dict[str, Result]
  folder: str
  failed: tuple[str, ...]

  @property
  def exit_code(self) -> int:
    """0, or 1 where a task failed."""
    return 1 if self.failed else 0


def evaluate(
    config: ConfigDict,
    workdir: str,
    method: str = "trained",
    *,
    export: str | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
  """Runs the tasks of a configuration.

  Their results are in `workdir/evaluation/`, with a table in `table.md`. Probes learn from the training split
  and are tested on `test`, or on the validation split where the data has no other. A task that its data
  cannot serve (no such label) is skipped with the reason; one that an exception ends is reported as failed,
  its trace is beside its result, and the others go on. `export` is a folder that replaces the run's
  checkpoint and configuration. Raises `UserError` for what the user can mend, and where there is nothing to
  evaluate.
  """
  _check(config, method)
  if export:
    from pdr_jax.exports import reader

    reader.read_manifest(export)  # something else is not a run directory, but not an export either
  trained = run_dir.read_config(export or workdir)
  run = data_of(trained, config)
  normalized_data.prepare(run, say)
  data = pipeline.describe(run)
  say(data.summary())
  _check_labels(config, data.elements)
  built_as = model_of(run, trained)
  if export:
    representation = representations.of_export(built_as, export)
  else:
    representation = representations.create(built_as, workdir, method, config.checkpoint, config.components)
  folder = folder_of(workdir, representation.name)
  words = batches.data_in_words(run)
  about = extract.fingerprint({"data": words, **representations.parameters_of(representation, run)})
  records.list_results(folder, about, ())
  contexts = _contexts(config, run, representation, dict(data.tests), folder, say)
  results = {}
  for context, name, job in jobs.of_tasks(contexts):
    results[name] = jobs.result(name, job, context, folder)
    records.list_results(folder, about, results)
    drawing.draw(results[name], os.path.join(folder, f"{records.file_name(name)}.png"))
  if not results:
    raise UserError(_nothing(config, next(iter(contexts.values()))))
  title = f"Evaluation of {export or workdir}: {representation.name} features"
  document = tables.markdown(title, results)
  write_text(os.path.join(folder, "table.md"), document)
  say(f"results in {folder}: table.md, and one JSON file for each task with its protocol")
  _tell_unused(config, data.elements, results, say)
  if all(result.skipped for result in results.values()):
    name, result = next(iter(results.items()))
    raise UserError(f"nothing was evaluated; the first task, {name}: {result.skipped}")
  return Outcome(results, folder, tuple(name for name, result in results.items() if result.failed))


def folder_of(workdir: str, representation: str) -> str:
  """Where the results of a representation (trained, export, or one that nothing is trained for) are."""
  own = representation in representations.UNTRAINED
  return os.path.join(workdir, FOLDER, *([representation] if own else []))


def data_of(run: ConfigDict, config: ConfigDict) -> ConfigDict:
  """The run's configuration with the data that the evaluation asks for.

  The data have the shape that the encoders were built for. Another source has its own crop (pixels of its
  files) and columns: those of the run are not taken over.
  """
  run = ConfigDict(run.to_dict())
  if config.data.name:
    run.data.options = run.data.label_kinds = ""
  if config.data.name not in ("", run.data.name):
    run.data.update(crop=(), split_by="seed")
  for key in ("name", "path", "crop", "split_by", "label_kinds", "options"):
    if config.data[key]:
      run.data[key] = config.data[key]
  for key in ("train_examples", "val_examples"):
    if config.data[key] >= 0:
      run.data[key] = config.data[key]
  run.data.flip = False
  run.train.batch_size = config.batch_size
  return run


def model_of(run: ConfigDict, trained: ConfigDict) -> ConfigDict:
  """`run`, of `data_of`, with the batch of the training: a model may have parameters for each place of it."""
  run = ConfigDict(run.to_dict())
  run.train.batch_size = trained.train.batch_size
  return run


def _check(config: ConfigDict, method: str) -> None:
  if method not in representations.names():
    raise UserError(f"--method={method}: must be one of {', '.join(representations.names())}")
  for name in config.tasks:
    task.find(name)
  if jax.process_count() > 1:
    raise UserError("evaluation runs in one process (on all of its devices): start it on one host")
  if config.batch_size % jax.local_device_count():
    raise UserError(
        f"config.batch_size = {config.batch_size}: must be a multiple of the {jax.local_device_count()} "
        "devices"
    )


def _check_labels(config: ConfigDict, published: ElementSpec) -> None:
  """Raises `UserError` for a label that the configuration names and the data do not have.

  The numbers of a factor, such as `light/0` or `position_0`, and the yaw of a view are known only once
  features are there.
  """
  from pdr_jax.evaluation.config import get_config

  known = [key.removeprefix("label/") for key in published if key.startswith("label/")]
  later = {key.removeprefix("label/") for key in published}
  known += ["yaw"] if "view" in published else []
  named = {"labels": config.labels, "light_angles": config.light_angles}
  if config.identity != get_config().identity:
    named["identity"] = (config.identity,)
  for key, names in named.items():
    unknown = [
      name for name in names
      if name not in known and "/" not in name and name.rpartition("_")[0] not in later
    ]
    if unknown:
      there = ", ".join(known) or "there are no labels"
      raise UserError(f"config.{key} names {unknown[0]!r}, which is no label of the data; there are: {there}")


def _tell_unused(
    config: ConfigDict, published: ElementSpec, results: Mapping[str, Result], say: Callable[[str], None]
) -> None:
  """A line about the labels that no result is about. Raises `UserError` where the user has named one."""
  about = [*config.light_angles, config.identity]
  for name, result in results.items():
    about += [*result.protocol.get("labels", ()), *(score.label for score in result.scores)]
    about += name.split("/") + re.findall(r"'([^']+)'", f"{result.skipped} {result.failed}")
  labels = [key.removeprefix("label/") for key in published if key.startswith("label/")]
  # Of a factor, such as position, results may be about its numbers: position_0, position/0, azimuth_sin.
  parts = {name: re.compile(rf"{re.escape(name)}([_/](\d+|sin|cos))?") for name in labels}
  unused = [name for name in labels if not any(map(parts[name].fullmatch, about))]
  named = [name for name in unused if name in config.labels]
  tasks = ", ".join(config.tasks)
  if named:
    raise UserError(f"config.labels names {named[0]!r}, which none of the tasks {tasks} can learn from")
  if unused:
    shown = ", ".join(unused[:jobs.SHOWN]) + (", ..." if len(unused) > jobs.SHOWN else "")
    say(f"labels without a result (of another kind than these tasks need, constant, or nearly so): {shown}")


def _nothing(config: ConfigDict, context: task.Context) -> str:
  asked = f" and the labels {', '.join(config.labels)}" if config.labels else ""
  return (
      f"nothing to evaluate: none of the tasks {', '.join(config.tasks)} found in {context.run.data.name} "
      f"what it needs (config.tasks{asked}); the train split has {task.in_words(context.train)}, and the "
      f"representation is {context.representation.name}"
  )


# ---------------------------------------------------------------- features


def _contexts(
    config: ConfigDict,
    run: ConfigDict,
    representation: Representation,
    tests: Mapping[str, int],
    folder: str,
    say: Callable[[str], None],
) -> dict[str, task.Context]:
  """What each task reads, by task; the same but for its settings."""
  test_split = "test" if "test" in tests else "validation"

  @functools.cache
  def encoder() -> Encode:
    added = {"components": config.components, "full": config.normalized_full, "say": say}
    return normalized.blocks_of(representation, run, **added)

  def read(split: str) -> Features:
    return _features(split, representation, encoder, run, config, folder, say)

  outside = {split: functools.partial(read, split) for split in tests if split != "test"}
  train, test = read("train"), read(test_split)
  shared = run, representation, train, test, test_split, outside, say
  return {name: task.Context(config, task.settings(config, name), *shared) for name in config.tasks}


def _features(
    split: str,
    representation: Representation,
    encoder: Callable[[], Encode],
    run: ConfigDict,
    config: ConfigDict,
    folder: str,
    say: Callable[[str], None],
) -> Features:
  """The features of a split by `encoder()`, computed once for these parameters and this data."""
  key = extract.fingerprint({
      "format": records.FORMAT,
      "data": batches.data_in_words(run, split=split),
      "method": representation.name,
      **representations.parameters_of(representation, run),
      **_blocks_asked_for(representation, config),
  })
  checkpoint = f", step {representation.step}" if representation.step is not None else ""
  say(f"features of {split}: {representation.name} encoder{checkpoint}")

  def compute() -> Features:
    batch = batches.of_split(run, representation.reads, split)
    return extract.extract(encoder(), batch, pipeline.describe(run).classes, representation.input)

  features = extract.cached(os.path.join(folder, "features"), key, compute)
  return robustness.with_light(features, config.light_angles) if config.light_angles else features


def _blocks_asked_for(representation: Representation, config: ConfigDict) -> dict[str, Any]:
  """The settings that say which blocks there are, where they have a say."""
  if normalized.has_pictures(representation):
    return {"normalized": [config.components, config.normalized_full]}
  return {"components": config.components} if representation.name == "pca" and config.components else {}


def read_results(workdir: str, representation: str = "trained") -> dict[str, Result]:
  """The results of the last model and data that were evaluated by task, in the order of the tasks' files.

  Raises `UserError`, see `records.read`.
  """
  return records.read_folder(folder_of(workdir, representation))

