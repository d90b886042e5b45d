"""`python -m pdr_jax.main`: trains the method of a configuration."""

import argparse
import gc

from pdr_jax.cli import compile_apart, flags, runtime


def declare(parser: argparse.ArgumentParser) -> None:
  """The command's flags."""
  parser.add_argument(
    "--workdir",
    metavar="DIR",
    required=True,
    type=flags.workdir,
    help="folder of the run: checkpoints, figures, metrics; the same command again continues it",
  )
  parser.add_argument(
    "--override_config", action="store_true", help="continue a run although its configuration has changed"
  )


COMMAND = flags.Command(
  module="pdr_jax.main",
  summary="Trains the method of a configuration.",
  examples=(
    "python -m pdr_jax.main --config quickstart --workdir runs/quickstart",
    "python -m pdr_jax.main --config heads:small --config.method=vae --workdir runs/vae",
  ),
  declare=declare,
  takes_config=True,
  details="""
Every key of the configuration, its default and its meaning: pdr_jax/config.py and the file of the method in
pdr_jax/methods.

Exit codes: 0 done; 2 a mistake in the command or its files; 75 stopped by SIGTERM or Ctrl-C and saved (the
same command continues). Several processes and machines: launch/ and docs/manual.md.
""",
)


def main(argv: list[str]) -> int:
  """Flags -> config -> training; returns the exit code."""
  values = flags.parse(COMMAND, argv)
  config = flags.configuration(values)

  # Only now what takes seconds to import, so that a mistyped flag answers at once.
  import jax

  from pdr_jax.config_checks import validate
  from pdr_jax.exports import first_stage, normalized_data
  from pdr_jax.training import distributed
  from pdr_jax.training.loop import train

  # Tracing a step makes millions of objects that stay. Looking through them took a sixth of its time.
  gc.set_threshold(100_000)
  runtime.cache_compilations()
  distributed.start()
  with distributed.failing_at_once():
    validate(config, jax.device_count())
    normalized_data.prepare(config)
    if compile_apart.is_asked():
      return compile_apart.compile_all(config)
    result = train(
      config,
      values.workdir,
      override_config=values.override_config,
      read_first=first_stage.read,
      before=lambda: compile_apart.where_it_pays(config, values.workdir, argv),
    )
    return result.exit_code
