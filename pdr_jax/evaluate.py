"""Evaluates the features of a run on downstream tasks: linear and few-shot classification, clustering, identification, factors, geometry.

python -m pdr_jax.evaluate --workdir RUN [--config configs/eval/X.py] [--method random|pca|pixels] [--config.key=value ...]

  --workdir           folder of a trained run; results go to its evaluation/ folder; finished tasks are not repeated
  --method            instead of the trained encoders: random (untrained ones), pca, or pixels
  --config            another evaluation (default: pdr_jax/evaluation/config.py, with every key)
  --config.key=value  overrides one value, such as --config.data.path=FOLDER or --config.tasks="('linear',)"
"""

import json
import os
from collections.abc import Callable
from functools import partial

from ml_collections import ConfigDict

from pdr_jax import command_line
from pdr_jax.errors import UserError

METHODS = ("trained", "random", "pca", "pixels")
TASKS = ("linear", "few_shot", "clustering", "identification", "factors", "geometry")
FOLDER = "evaluation"
TEST_SPLIT = "validation"  # of the run's data; nothing was trained or selected on its labels


def main(argv: list[str]) -> int:
  """Flags -> features -> tasks -> tables; returns the exit code."""
  method, argv = _take_method(argv)
  arguments = command_line.parse(argv, default_config=os.path.join(os.path.dirname(__file__), "evaluation", "config.py"))

  import jax

  from pdr_jax.main import cache_compilations

  cache_compilations(jax)
  evaluate(arguments.config, arguments.workdir, method)
  return 0


def _take_method(argv: list[str]) -> tuple[str, list[str]]:
  rest, method = [], "trained"
  words = iter(argv)
  for word in words:
    if word.split("=")[0] not in ("--method", "-method"):
      rest.append(word)
      continue
    method = word.split("=", 1)[1] if "=" in word else next(words, "")
  if method not in METHODS:
    raise UserError(f"--method={method}: must be one of {', '.join(METHODS)}")
  return method, rest


def evaluate(config: ConfigDict, workdir: str, method: str = "trained", say: Callable[[str], None] = print) -> dict[str, dict]:
  """Runs the tasks of a configuration; returns `{task: result}`, which is also in `workdir/evaluation/`, with a table in `table.md`.

  A task that its data cannot serve (no such label) is skipped with the reason. Raises `UserError` for what the user can mend.
  """
  from pdr_jax.data import pipeline
  from pdr_jax.evaluation import extract, tables
  from pdr_jax.files import write_atomically, write_json
  from pdr_jax.training import run_dir

  unknown = [task for task in config.tasks if task not in TASKS]
  if unknown:
    raise UserError(f"config.tasks: {unknown[0]!r} is unknown; choose from {', '.join(TASKS)}")
  run = _data_of(run_dir.read_config(workdir), config)
  say(pipeline.describe(run).summary())
  encode, params, step = _encoder(run, workdir, method, config)
  folder = os.path.join(workdir, FOLDER, *([] if method == "trained" else [method]))
  classes = dict(pipeline.describe(run).classes)

  splits = {}
  for split in ("train", TEST_SPLIT):
    data = run.data.to_dict() | {"split": split, "found": pipeline.describe(run)._replace(skipped=())}  # a folder may have changed
    key = extract.fingerprint({"data": json.dumps(data, sort_keys=True, default=str), "method": method, "params": params or {}})
    batches = pipeline.validation_batches(run, split=split)
    say(f"features of {split}: {method} encoder" + (f", step {step}" if step is not None else ""))
    splits[split] = extract.cached(os.path.join(folder, "features"), key, lambda batches=batches: extract.extract(encode, batches, classes))

  train, test = splits["train"], splits[TEST_SPLIT]
  asked = {"seeds": config.seeds, "labels": list(config.labels), "identity": config.identity}
  results = {}
  for task in config.tasks:
    for name, job in _jobs(task, train, test, config, run, workdir, params if method == "trained" else None):
      path = os.path.join(folder, f"{name.replace('/', '_')}.json")
      key = extract.fingerprint({"train": train._asdict() | {"classes": 0}, "test": test._asdict() | {"classes": 0},
                                 "asked": json.dumps(asked, sort_keys=True)})
      result = _finished(path, key)
      if result is None:
        say(f"{name} ...")
        try:
          result = job()
        except UserError as error:
          result = {"skipped": str(error)}
        result["protocol"] = result.get("protocol", {}) | {
            "method": method, "checkpoint_step": step, "data": run.data.name, "splits": ["train", TEST_SPLIT], "key": key}
        write_json(path, result)
      if "skipped" in result:
        say(f"{name}: not run, {result['skipped']}")
      results[name] = result
  document = tables.markdown(f"Evaluation of {workdir}: {method} features", results)
  write_atomically(os.path.join(folder, "table.md"), lambda file: file.write(document.encode()))
  say(f"results in {folder}: table.md, and one JSON file for each task with its protocol")
  return results


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


def _encoder(run: ConfigDict, workdir: str, method: str, config: ConfigDict):
  """(encode, parameters or None, step or None) of what is evaluated."""
  import jax
  import numpy as np

  from pdr_jax import methods
  from pdr_jax.data import pipeline
  from pdr_jax.evaluation import extract
  from pdr_jax.training.checkpoints import check_params, load_params

  if jax.process_count() > 1:
    raise UserError("evaluation runs in one process (on all of its devices): start it on one host")
  if run.train.batch_size % jax.local_device_count():
    raise UserError(f"config.batch_size = {run.train.batch_size}: must be a multiple of the {jax.local_device_count()} devices")
  if method == "pixels":
    return extract.pixels, None, None
  system, side = methods.create(run), run.data.side
  example = {"image": np.zeros((1, side, side, 3), np.float32)}
  expected = jax.eval_shape(system.init, jax.random.key(run.seed), example).params
  if method == "pca":
    blocks = jax.eval_shape(system.encode, expected, jax.ShapeDtypeStruct((1, side, side, 3), np.float32))
    batches = pipeline.validation_batches(run, split="train", image_only=True)
    return extract.principal_components(batches, sum(block.shape[1] for block in blocks.values())), None, None
  if method == "random":
    params = jax.device_get(jax.jit(system.init)(jax.random.key(run.seed), example).params)
    return partial(system.encode, params), params, 0
  if config.checkpoint not in ("best", "latest") and not config.checkpoint.isdecimal():
    raise UserError(f"config.checkpoint = {config.checkpoint}: must be best, latest, or a step such as 1000")
  params, step = load_params(workdir, config.checkpoint)
  check_params(params, expected)
  return partial(system.encode, params), params, step


def _jobs(task, train, test, config, run, workdir, params):
  """(name, function without arguments) for every table that a task makes of these labels."""
  import numpy as np

  from pdr_jax.evaluation import clustering, factors, few_shot, identification, linear

  seeds = range(config.seeds)
  labels = list(config.labels) or [name for name, values in train.labels.items() if np.issubdtype(values.dtype, np.integer)]
  values = {name: np.unique(train.labels[name]) if name in train.labels else np.arange(2) for name in labels}
  labels = [name for name in labels if name != config.identity]
  binary = [name for name in labels if set(values[name]) <= {-1, 0, 1}]
  several = [name for name in labels if name not in binary]
  if task == "linear":
    yield from ((f"linear/{name}", lambda name=name: linear.multi_class(train, test, name, seeds=seeds)) for name in several)
    if binary:
      yield "linear/attributes", lambda: linear.multi_label(train, test, binary, seeds=seeds)
  elif task == "few_shot":
    yield from ((f"few_shot/{name}", lambda name=name: few_shot.few_shot(train, test, name, draws=seeds)) for name in several)
  elif task == "clustering":
    yield from ((f"clustering/{name}", lambda name=name: clustering.clustering(test, name, seeds=seeds)) for name in several)
  elif task == "identification":
    if config.identity in train.labels:
      yield "identification/closed_set", lambda: identification.closed_set(train, test, config.identity, seeds=seeds)
      yield "identification/verification", lambda: identification.verification(train, test, config.identity, seeds=seeds)
  elif task == "factors":
    if factors.groups(train):
      yield "factors", lambda: factors.factors(train, test)
  elif params is not None:
    yield "geometry", lambda: _geometry(run, params)


def _geometry(run: ConfigDict, params: dict) -> dict:
  """The model's depth against truth, next to constant and average true depth. Raises `UserError` without truth."""
  from pdr_jax import methods
  from pdr_jax.data import pipeline
  from pdr_jax.methods import TrainState
  from pdr_jax.training import step as steps
  from pdr_jax.training.validation import Validator

  if not pipeline.describe(run).has_truth:
    raise UserError("the data has no true depth")
  validator = Validator(methods.create(run), pipeline.validation_batches(run), run)
  scores = validator.scores(steps.replicate(TrainState(step=0, params=params, opt_state=(), ema=None)), 0)
  baselines = validator.baselines()
  columns = ("val/side", "val/mad", "val/relief")
  rows = {"model": scores, **baselines}
  return {"task": "geometry: SIDE, MAD (degrees) and relief at the input view",
          "protocol": {"test": validator.examples, "masks": "true and rendered, eroded by 3 x 3"},
          "results": {name: {key.removeprefix("val/"): row[key] for key in columns if key in row} for name, row in rows.items()}}


def _finished(path: str, key: str) -> dict | None:
  """The result of an earlier start, if it was computed from the same features with the same settings; what was skipped is tried again."""
  try:
    with open(path, encoding="utf-8") as file:
      result = json.load(file)
  except (OSError, json.JSONDecodeError):
    return None
  return result if result.get("protocol", {}).get("key") == key and "skipped" not in result else None


if __name__ == "__main__":
  command_line.run(main, __doc__)
