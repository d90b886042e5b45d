"""`python -m pdr_jax.study`: many methods over many seeds in one table, by any number of workers."""

import argparse
import functools
import gc
import os

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
    help="folder of the study; without --config, what the study there was started with",
  )
  parser.add_argument(
    "--workers", metavar="N", type=int, default=1, help="processes on this machine that share the runs (1)"
  )
  parser.add_argument(
    "--only",
    metavar="NAME",
    action="append",
    default=[],
    help="this run (pdr/seed_0) or method (pdr) alone, again if it failed; may be given several times",
  )
  parser.add_argument(
    "--status", action="store_true", help="shows what is running, done, failed and how long is left; no more"
  )
  parser.add_argument(
    "--into",
    metavar="FILE",
    type=functools.partial(flags.out, flag="--into"),
    help="writes the study's section into this Markdown file, such as docs/results/cars.md; no more",
  )
  parser.add_argument(
    "--with",
    dest="others",
    metavar="DIR",
    action="append",
    default=[],
    type=flags.workdir,
    help="with --into: another study, whose rows go into the same table; may be given several times",
  )


COMMAND = flags.Command(
  module="pdr_jax.study",
  summary="Trains and evaluates many methods over several seeds, and puts them into one table.",
  examples=(
    "python -m pdr_jax.study --config suite:cars --workdir runs/cars --config.pictures=9_600",
    "python -m pdr_jax.study --workdir runs/cars --workers 2",
    "python -m pdr_jax.study --workdir runs/cars --status",
    "python -m pdr_jax.study --workdir runs/cars --only simclr/seed_1",
    "python -m pdr_jax.study --workdir runs/cars --into docs/results/cars.md",
  ),
  declare=declare,
  takes_config=True,
  details="""
The same command again continues. It may run several times at once, on any machine that sees the folder: each
run has a lock, and a run whose process has died is taken over. A run that fails is named, the others go on.

Exit codes: 0 done; 1 done, and a run or a task failed; 2 a mistake in the command or its files; 75 stopped by
SIGTERM or Ctrl-C in a training, and saved.
""",
)


def main(argv: list[str]) -> int:
  """Flags -> study; returns the exit code."""
  values = flags.parse(COMMAND, argv)
  if in_bucket(values.workdir):
    raise UserError(f"--workdir {values.workdir}: a study needs a folder; mount the bucket")
  if values.others and not values.into:
    raise UserError("--with has no meaning without --into")
  if values.workers < 1:
    raise UserError(f"--workers {values.workers}: must be at least 1")
  environment = dict(os.environ)
  if values.status or values.into or values.workers > 1:
    os.environ["JAX_PLATFORMS"] = "cpu"  # this process computes nothing: the accelerator is the workers'
  config = _configuration(values)

  from pdr_jax.study import plan, run, state, workers

  if values.status:
    entries = plan.select(plan.plan(config, values.workdir), values.only)
    print("\n".join(state.lines(entries, [state.of(entry) for entry in entries])))
    return 0
  if values.into:
    studies = {values.workdir: config}
    studies |= {folder: _stored(folder, []) for folder in values.others if folder not in studies}
    more = [word for folder in values.others for word in ("--with", os.path.relpath(folder))]
    where = os.path.relpath(values.workdir)
    how = flags.shown("pdr_jax.study", "--workdir", where, *more, "--into", values.into)
    run.write_section(studies, values.into, how)
    print(f"the section of {', '.join(map(os.path.basename, studies))} is in {values.into}")
    return 0
  # Tracing a step makes millions of objects that stay. Looking through them took a sixth of its time.
  gc.set_threshold(100_000)
  runtime.cache_compilations()
  if values.workers > 1:
    entries = run.prepare(config, values.workdir, values.only)
    command = workers.command_of(argv)
    return workers.run(command, values.workers, values.workdir, entries, environment, print)
  again = not workers.stop_with_parent()
  return run.work(config, values.workdir, only=values.only, again=again)


def _configuration(values: argparse.Namespace) -> ConfigDict:
  """That of `--config`, or of the study in the folder."""
  if values.config is not None:
    return flags.configuration(values)
  return _stored(values.workdir, values.overrides)


def _stored(workdir: str, overrides: list[configurations.Override]) -> ConfigDict:
  """The configuration of the study in a folder. Raises `UserError` where there is none."""
  from pdr_jax.evaluation import study_file
  from pdr_jax.study import plan

  if not study_file.is_study(workdir):
    raise UserError(f"--config is missing, and {workdir} holds no study yet: name one, such as suite")
  stored = plan.from_plain(study_file.read_config(workdir))
  return configurations.resolve(None, overrides, lambda: stored)
