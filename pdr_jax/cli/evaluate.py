"""`python -m pdr_jax.evaluate`: evaluates a run, an export, or a suite of methods."""

import argparse

from ml_collections import ConfigDict

from pdr_jax.cli import configurations, flags, runtime
from pdr_jax.errors import UserError
from pdr_jax.files import in_bucket


def declare(parser: argparse.ArgumentParser) -> None:
  """The command's flags."""
  parser.add_argument(
    "--workdir",
    metavar="DIR",
    required=True,
    type=flags.workdir,
    help="folder of a trained run; results go to its evaluation/ folder; finished tasks are not repeated",
  )
  parser.add_argument(
    "--method",
    metavar="NAME",
    help="instead of the trained encoders: random (untrained ones), pca, or pixels",
  )
  parser.add_argument(
    "--export",
    metavar="DIR",
    type=flags.text,
    help="the model that pdr_jax.export wrote to this folder, instead of a run's checkpoint",
  )
  parser.add_argument(
    "--suite",
    metavar="NAME_OR_PATH[:VARIANT]",
    help="trains and evaluates many methods and puts them into one table; the same command again continues",
  )


def default_config() -> ConfigDict:
  """The configuration of an evaluation where no `--config` is given."""
  from pdr_jax.evaluation import config

  return config.get_config()


COMMAND = flags.Command(
  module="pdr_jax.evaluate",
  summary="Evaluates the features of a run on every downstream task that its data has labels or truth for.",
  examples=(
    "python -m pdr_jax.evaluate --workdir runs/quickstart",
    "python -m pdr_jax.evaluate --workdir runs/quickstart --method pca --config.tasks=linear,clustering",
    "python -m pdr_jax.evaluate --export exported/quickstart --workdir runs/evaluation_of_the_export",
    "python -m pdr_jax.evaluate --suite suite:cars --workdir runs/suite_cars --config.run.train.steps=600",
  ),
  declare=declare,
  takes_config=True,
  details="Every key of an evaluation, its default and its meaning: pdr_jax/evaluation/config.py.",
)


def main(argv: list[str]) -> int:
  """Flags -> evaluation; returns the exit code."""
  values = flags.parse(COMMAND, argv)
  chosen = [name for name in ("method", "export", "suite") if getattr(values, name) is not None]
  if values.suite is not None and values.config is not None:
    chosen.append("config")
  if len(chosen) > 1:
    raise UserError(f"--{' and --'.join(chosen)} exclude each other: give one of them")
  if values.suite is not None:
    return _suite(values)
  config = flags.configuration(values, default_config)

  from pdr_jax.evaluation.run import evaluate  # JAX and everything else that takes seconds to import

  runtime.prepare()
  return evaluate(config, values.workdir, values.method or "trained", export=values.export).exit_code


def _suite(values: argparse.Namespace) -> int:
  """Trains and evaluates the methods of `--suite`."""
  config = configurations.resolve(values.suite, values.overrides)
  if in_bucket(values.workdir):
    raise UserError(f"--workdir {values.workdir}: a suite needs a folder; mount the bucket")

  from pdr_jax.study.run import run_suite

  runtime.prepare()
  return run_suite(config, values.workdir)
