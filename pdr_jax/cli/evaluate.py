"""`python -m pdr_jax.evaluate`: evaluates a run or an export."""

import argparse

from ml_collections import ConfigDict

from pdr_jax.cli import flags, runtime
from pdr_jax.errors import UserError


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
    "--suite", metavar="NAME_OR_PATH[:VARIANT]", help="is a command of its own now: python -m pdr_jax.study"
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
  ),
  declare=declare,
  takes_config=True,
  details="Every key of an evaluation, its default and its meaning: pdr_jax/evaluation/config.py.",
)


def main(argv: list[str]) -> int:
  """Flags -> evaluation; returns the exit code."""
  values = flags.parse(COMMAND, argv)
  if values.suite is not None:
    study = flags.shown("pdr_jax.study", "--config", values.suite, "--workdir", values.workdir)
    raise UserError(f"--suite is a command of its own now: {study}")
  if values.method is not None and values.export is not None:
    raise UserError("--method and --export exclude each other: give one of them")
  config = flags.configuration(values, default_config)

  from pdr_jax.evaluation.run import evaluate  # JAX and everything else that takes seconds to import

  runtime.cache_compilations()
  return evaluate(config, values.workdir, values.method or "trained", export=values.export).exit_code
