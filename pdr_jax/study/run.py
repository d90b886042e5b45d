"""Methods by tasks in one table: trains or loads every method over several seeds, evaluates each, and continues where it stopped.

A method is a name of `pdr_jax.methods`, with variants of its configuration behind a colon (`pdr:unsup3d`), or one of the sources that
nothing is trained for (`random`, `pca`, `pixels`). Every run is a run directory of its own, `METHOD/seed_N`, every finished task a file in
it.
"""

import json
import os
from collections.abc import Callable

import jax
from ml_collections import ConfigDict

from pdr_jax import config as config_lib
from pdr_jax import config_checks
from pdr_jax.errors import UserError
from pdr_jax.evaluation import suite_table
from pdr_jax.files import write_atomically, write_json
from pdr_jax.report import curves, figures, heat_map
from pdr_jax.training import run_dir
from pdr_jax.training.loop import train

UNTRAINED = ("random", "pca", "pixels")
WITHOUT_SEED = ("pca", "pixels")  # the same for every seed
BEST_METRICS = {"simclr": "val/nt_xent"}  # where it is not that of the configuration


def run_suite(config: ConfigDict, workdir: str, evaluate: Callable[..., dict], say: Callable[[str], None] = print) -> int:
  """Everything that `config` asks for and `workdir` does not hold yet; `suite.md` and `suite.json` after each run, figures at the end.

  Args:
    config: `methods`, `seeds` (how many representations of each), `run` (a training configuration), `evaluation` (see `evaluation.config`).
    evaluate: `pdr_jax.evaluate.evaluate`.

  Returns the exit code: 0, or that of a training that a signal stopped. A run that fails (a loss that is not finite) is named in the table
  and the others go on. Raises `UserError` for a configuration that cannot be, or where every run failed.
  """
  configs = {method: configuration(config.run, method) for method in config.methods}
  for one in configs.values():
    config_checks.validate(one, jax.device_count())
  results, failed = {}, {}
  plan = [(method, seed) for seed in range(config.seeds) for method in config.methods if seed == 0 or method not in WITHOUT_SEED]
  for number, (method, seed) in enumerate(plan, 1):
    say(f"[{number} of {len(plan)}] {method}, seed {seed}")
    folder = os.path.join(workdir, method.replace(":", "_"), f"seed_{seed}")
    run = configs[method].copy_and_resolve_references()
    run.seed = seed
    try:
      code = _train(run, folder, method, say)
      if code:
        say("the suite is stopped: the same command continues from there")
        return code
      found = evaluate(config.evaluation, folder, method if method in UNTRAINED else "trained", say=say)
      results.setdefault(method, []).append(found)
    except UserError as error:
      say(f"{method}, seed {seed}, failed: {error}")
      failed[f"{method}, seed {seed}"] = str(error)
    if results:
      write(config, workdir, results, failed)
  if not results:
    raise UserError(f"every run of the suite failed; the first, {next(iter(failed))}: {next(iter(failed.values()))}")
  draw(workdir, results)
  say(f"results in {workdir}: suite.md, suite.json and figures/")
  return 0


def configuration(run: ConfigDict, method: str) -> ConfigDict:
  """The training configuration of a method of the suite."""
  name, _, variants = method.partition(":")
  run = run.copy_and_resolve_references()
  if name not in UNTRAINED:
    run.method = name
  run.train.best_metric = BEST_METRICS.get(name, run.train.best_metric)
  try:
    return config_lib.variant(run, variants)
  except ValueError as error:
    raise UserError(f"config.methods: {method}: {error}") from error


def _train(run: ConfigDict, folder: str, method: str, say: Callable[[str], None]) -> int:
  """Trains where that is not done yet; the exit code."""
  if method in UNTRAINED:
    run_dir.check_run(folder, run, say=say)
    run_dir.record_start(folder, run)
    return 0
  if _steps(folder) == run.train.steps:
    run_dir.check_run(folder, run, say=say)  # of another configuration?
    say(f"{folder} is trained")
    return 0
  return train(run, folder).exit_code


def _steps(folder: str) -> int | None:
  """How far a run has got that was trained to its end."""
  try:
    with open(os.path.join(folder, run_dir.SUMMARY), encoding="utf-8") as file:
      return json.load(file)["step"]
  except (OSError, ValueError, KeyError):
    return None


def write(config: ConfigDict, workdir: str, results: dict[str, list[dict]], failed: dict[str, str]) -> None:
  """The table of what is there so far; `results[method]` has what `evaluate` returned, one for each seed."""
  rows = suite_table.rows(results)
  write_json(os.path.join(workdir, "suite.json"), {"rows": rows, "failed": failed, "methods": list(results), "config": _plain(config)})
  document = suite_table.markdown(rows, list(results), failed, _sizes(config))
  write_atomically(os.path.join(workdir, "suite.md"), lambda file: file.write(document.encode()))


def draw(workdir: str, results: dict[str, list[dict]]) -> None:
  """Robustness curves of all methods, and each method's factor matrix, into `figures/`."""
  folder = os.path.join(workdir, "figures")
  for kind in ("light", "view"):
    panels = suite_table.robustness_lines(results, f"robustness/{kind}")
    if panels:
      figure = curves.curves(panels, f"probes outside of the training range of {kind}, all features",
                             across="degrees outside of the training range", upwards="balanced accuracy")
      figures.save(figure, os.path.join(folder, f"robustness_{kind}.png"))
  for method, matrix in suite_table.factor_matrices(results).items():
    figure = heat_map.heat_map(matrix, f"{method}: features (rows) that tell a factor (columns)", label="held-out R2 of a ridge")
    figures.save(figure, os.path.join(folder, f"factors_{method.replace(':', '_')}.png"))


def _plain(config: ConfigDict) -> dict:
  return config.copy_and_resolve_references().to_dict()


def _sizes(config: ConfigDict) -> str:
  data, training = config.run.data, config.run.train
  return (f"{data.name}, {data.side} x {data.side}, {training.steps:,} steps of batch {training.batch_size}, "
          f"{config.seeds} representations, {config.evaluation.seeds} probes of each")
