"""One HTML file about runs: curves, tables, pictures, failures, and a stage on which a face is turned and relit. It needs no network.

python -m pdr_jax.report --workdir RUN [--workdir RUN2 ...] --out report.html [--figures DIR] [--force]

  --workdir  folder of a run, or of a suite (python -m pdr_jax.evaluate --suite); may be given several times
  --out      the HTML file
  --figures  folder that takes the plots and pictures for papers, as PNG and PDF
  --force    write over what is there
"""

import os
import sys

from pdr_jax import command_line
from pdr_jax.errors import UserError
from pdr_jax.files import write_atomically


def main(argv: list[str]) -> int:
  """Flags -> report; returns the exit code."""
  parser = command_line.Parser()
  parser.add_argument("--workdir", action="append", required=True)
  parser.add_argument("--out", required=True)
  parser.add_argument("--figures", default=None)
  parser.add_argument("--force", action="store_true")
  flags = parser.parse_args(argv[1:])
  out, folder = (flag and os.path.abspath(os.path.expanduser(flag)) for flag in (flags.out, flags.figures))
  _check_targets(out, folder, flags.force)

  import jax

  from pdr_jax.main import cache_compilations
  from pdr_jax.report import page, pictures, plots, runs

  cache_compilations(jax)
  found = runs.read(flags.workdir)
  shown = {}
  trained = [run for run in found if run.config is not None]
  for run in trained:
    try:
      shown[run.name] = pictures.of_run(run, faces=max(1, pictures.FACES // len(trained)))
    except UserError as error:  # its curves and tables are worth a report all the same
      print(f"no pictures of {run.name}: {error}", file=sys.stderr)
      shown[run.name] = str(error)
  drawn = plots.of_runs(found)
  document = page.document(found, drawn, shown)
  try:
    write_atomically(out, lambda file: file.write(document.encode()))
    print(f"report of {', '.join(run.name for run in found)}: {out} ({os.path.getsize(out) / 1e6:.1f} MB)")
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
    raise UserError(f"--figures {folder} is not empty: choose another folder, or pass --force to write over what has the same name")


if __name__ == "__main__":
  command_line.run(main, __doc__)
