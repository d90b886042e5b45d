"""`python -m pdr_jax.report`: one HTML file about runs."""

import argparse
import functools
import os
import sys

from pdr_jax.cli import flags, runtime
from pdr_jax.errors import UserError
from pdr_jax.files import write_text


def declare(parser: argparse.ArgumentParser) -> None:
  """The command's flags."""
  parser.add_argument(
    "--workdir",
    metavar="RUN",
    action="append",
    required=True,
    help="folder of a run, or of a study (python -m pdr_jax.study); may be given several times",
  )
  parser.add_argument("--out", metavar="FILE", required=True, type=flags.out, help="the HTML file")
  parser.add_argument(
    "--figures",
    metavar="DIR",
    type=functools.partial(flags.out, flag="--figures"),
    help="folder that takes the plots and pictures, as PNG and PDF",
  )
  parser.add_argument("--force", action="store_true", help="write over what is there")


COMMAND = flags.Command(
  module="pdr_jax.report",
  summary="One HTML file about runs: curves, tables, pictures, failures, and a face to turn and relight.",
  examples=(
    "python -m pdr_jax.report --workdir runs/quickstart --out report.html",
    "python -m pdr_jax.report --workdir runs/a --workdir runs/b --out report.html --figures figures",
  ),
  declare=declare,
)


def main(argv: list[str]) -> int:
  """Flags -> report; returns the exit code."""
  values = flags.parse(COMMAND, argv)
  out = os.path.abspath(values.out)
  folder = os.path.abspath(values.figures) if values.figures else None
  _check_targets(out, folder, values.force)

  from pdr_jax.report import page, pictures, plots, runs

  runtime.cache_compilations()
  read = runs.read(values.workdir)
  shown = {}
  trained = [run for run in read if run.config is not None]
  for run in trained:
    try:
      shown[run.name] = pictures.of_run(run, faces=max(1, pictures.FACES // len(trained)))
    except UserError as error:  # its curves and tables are worth a report all the same
      print(f"no pictures of {run.name}: {error}", file=sys.stderr)
      shown[run.name] = str(error)
  drawn = plots.of_runs(read)
  document = page.document(read, drawn, shown)
  try:
    write_text(out, document)
    print(f"report of {', '.join(run.name for run in read)}: {out} ({os.path.getsize(out) / 1e6:.1f} MB)")
    if folder:
      plots.save(drawn, shown, folder)
      print(f"figures as PNG and PDF: {folder}")
  except OSError as error:
    raise UserError(f"{error.filename or out} cannot be written to: {error.strerror or error}") from error
  return 0


def _check_targets(out: str, folder: str | None, force: bool) -> None:
  if os.path.isdir(out):
    raise UserError(f"--out {out} is a folder: name a file such as report.html")
  if os.path.exists(out) and not force:
    raise UserError(f"--out {out} exists already: choose another file, or pass --force to write over it")
  if folder and os.path.exists(folder) and not os.path.isdir(folder):
    raise UserError(f"--figures {folder} is a file: name a folder")
  if folder and os.path.isdir(folder) and os.listdir(folder) and not force:
    raise UserError(
      f"--figures {folder} is not empty: choose another folder, or pass --force to write over what has "
      "the same name"
    )
