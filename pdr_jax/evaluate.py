"""`python -m pdr_jax.evaluate` evaluates a run; its flags: `pdr_jax.cli.evaluate`."""

import functools
import json
import os
from collections.abc import Callable

from etils import epath
from ml_collections import ConfigDict

from pdr_jax.cli.evaluate import main
from pdr_jax.cli.flags import start
from pdr_jax.errors import UserError

FOLDER = "evaluation"


def evaluate(
    config: ConfigDict, workdir: str, method: str = "trained", *, export: str | None = None, say: Callable[[str], None] = print
) -> dict[str, dict]:
  """Runs the tasks of a configuration; returns `{task: result}`, which is also in `workdir/evaluation/`, with a table in `table.md`.

  Probes learn from the training split and are tested on `test`, or on the validation split where the data has no other. A task that its
  data cannot serve (no such label) is skipped with the reason. `export` is a folder that replaces the run's checkpoint and configuration.
  Raises `UserError` for what the user can mend.
  """
  import jax

  from pdr_jax.data import pipeline
  from pdr_jax.evaluation import jobs, sources, tables
  from pdr_jax.exports import reader
  from pdr_jax.files import write_atomically
  from pdr_jax.training import run_dir

  _check(config, method, sources.NAMES, tuple(jobs.TASKS), jax)
  if export:
    reader.read_manifest(export)  # something else is not a run directory, but not an export either
  run = _data_of(run_dir.read_config(export or workdir), config)
  data = pipeline.describe(run)
  say(data.summary())
  source = sources.of_export(run, export) if export else sources.of_run(run, workdir, method, config.checkpoint)
  folder = os.path.join(workdir, FOLDER, *([] if source.name in ("trained", "export") else [method]))
  tests = dict(data.tests)
  test_split = "test" if "test" in tests else "validation"
  read = lambda split: _features(split, source, run, config, folder, say)
  outside = {split: functools.partial(read, split) for split in tests if split != "test"}
  context = jobs.Context(config, run, source, read("train"), read(test_split), test_split, outside, say)
  results = {}
  for task in config.tasks:
    for name, job in jobs.TASKS[task](context):
      results[name] = _result(name, job, context, folder)
      _draw(name, results[name], folder)
  document = tables.markdown(f"Evaluation of {export or workdir}: {source.name} features", results)
  write_atomically(os.path.join(folder, "table.md"), lambda file: file.write(document.encode()))
  say(f"results in {folder}: table.md, and one JSON file for each task with its protocol")
  return results


def _check(config: ConfigDict, method: str, methods: tuple[str, ...], tasks: tuple[str, ...], jax) -> None:
  if method not in methods:
    raise UserError(f"--method={method}: must be one of {', '.join(methods)}")
  unknown = [task for task in config.tasks if task not in tasks]
  if unknown:
    raise UserError(f"config.tasks: {unknown[0]!r} is unknown; choose from {', '.join(tasks)}")
  if jax.process_count() > 1:
    raise UserError("evaluation runs in one process (on all of its devices): start it on one host")
  if config.batch_size % jax.local_device_count():
    raise UserError(f"config.batch_size = {config.batch_size}: must be a multiple of the {jax.local_device_count()} devices")


def _data_of(run: ConfigDict, config: ConfigDict) -> ConfigDict:
  """The run's configuration with the data that the evaluation asks for, at the side the encoders were built for."""
  run = ConfigDict(run.to_dict())
  for key in ("name", "path", "crop", "split_by"):
    if config.data[key]:
      run.data[key] = config.data[key]
  for key in ("train_examples", "val_examples"):
    if config.data[key] >= 0:
      run.data[key] = config.data[key]
  run.data.flip = False
  run.train.batch_size = config.batch_size
  return run


def _features(split: str, source, run: ConfigDict, config: ConfigDict, folder: str, say: Callable[[str], None]):
  """The features of a split, computed once for these parameters and this data."""
  from pdr_jax.data import pipeline
  from pdr_jax.evaluation import extract, robustness

  found = pipeline.describe(run)
  data = run.data.to_dict() | {"split": split, "found": found._replace(skipped=())}  # a folder may have changed
  key = extract.fingerprint({"data": json.dumps(data, sort_keys=True, default=str), "method": source.name, "params": source.params or {}})
  batches = pipeline.validation_batches(run, split=split)
  say(f"features of {split}: {source.name} encoder" + (f", step {source.step}" if source.step is not None else ""))
  features = extract.cached(os.path.join(folder, "features"), key, lambda: extract.extract(source.encode, batches, dict(found.classes)))
  return robustness.with_light(features, config.light_angles) if config.light_angles else features


def _result(name: str, job: Callable[[], dict], context, folder: str) -> dict:
  """What a job gives, or gave at an earlier start for the same features and settings; kept in `folder`."""
  from pdr_jax.evaluation import extract
  from pdr_jax.files import write_json

  config, path = context.config, os.path.join(folder, f"{name.replace('/', '_')}.json")
  section = config.get(name.split("/")[0])
  asked = {"seeds": config.seeds, "labels": list(config.labels), "identity": config.identity, "section": section and section.to_dict(),
           "light_angles": list(config.light_angles)}
  features = {split: part._asdict() | {"classes": 0} for split, part in (("train", context.train), ("test", context.test))}
  key = extract.fingerprint({**features, "asked": json.dumps(asked, sort_keys=True)})
  result = _finished(path, key)
  if result is None:
    context.say(f"{name} ...")
    try:
      result = job()
    except UserError as error:
      result = {"skipped": str(error)}
    result["protocol"] = result.get("protocol", {}) | {
        "method": context.source.name, "checkpoint_step": context.source.step, "data": context.run.data.name,
        "splits": ["train", context.test_split], "key": key}
    write_json(path, result)
  if "skipped" in result:
    context.say(f"{name}: not run, {result['skipped']}")
  return result


def _draw(name: str, result: dict, folder: str) -> None:
  """The picture of a result that is a matrix or a curve, beside its JSON."""
  if "skipped" in result or name.split("/")[0] not in ("factors", "robustness"):
    return
  from pdr_jax.report import curves, figures, heat_map

  if name == "factors":
    figure = heat_map.heat_map(result["results"], "features (rows) that tell a factor (columns)", label="held-out R2 of a ridge")
  else:
    places = result["degrees"]
    labels = result["results"][next(iter(result["results"]))]
    point = lambda place, score: (places[place], score["mean"], score["std"] or 0.0)
    points = lambda curve: [point(place, one["balanced_accuracy"]) for place, one in curve.items()]
    panels = {label: {subset: points(found[label]) for subset, found in result["results"].items()} for label in labels}
    figure = curves.curves(panels, name.replace("/", ": "), across="degrees outside of the training range", upwards="balanced accuracy")
  figures.save(figure, os.path.join(folder, f"{name.replace('/', '_')}.png"))


def _finished(path: str, key: str) -> dict | None:
  """The result of an earlier start, if it was computed from the same features with the same settings; what was skipped is tried again."""
  try:
    result = json.loads(epath.Path(path).read_text())
  except (OSError, json.JSONDecodeError):
    return None
  return result if result.get("protocol", {}).get("key") == key and "skipped" not in result else None


if __name__ == "__main__":
  start(main)
