"""How every command reads its flags: one declaration, `--help` for all of it, and mistakes that are one line.

A command is a module with a `Command` and a function `main(argv) -> exit code`, which calls `parse`. Its file
under `python -m` calls `start(main)`.
"""

import argparse
import difflib
import errno
import os
import shlex
import sys
from collections.abc import Callable
from typing import NamedTuple

from ml_collections import ConfigDict

from pdr_jax.cli import configurations
from pdr_jax.errors import UserError
from pdr_jax.files import absolute, in_bucket

# Why files cannot be written or read, for reasons that lie with the disk, its rights, or the path given.
NOT_OURS = (
  errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EIO, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOSPC,
  errno.ENOTDIR, errno.EPERM, errno.EROFS, errno.ESTALE,
)


class Command(NamedTuple):
  """What a command is called, what it does and which flags it takes.

  Attributes:
    module: its name after `python -m`.
    summary: what it does, one line.
    examples: how it is called, each ready to be pasted.
    declare: adds the flags to a parser, each with `help`.
    takes_config: it takes `--config` and `--config.KEY=VALUE`; see `configuration`.
    details: what else `--help` says.
  """

  module: str
  summary: str
  examples: tuple[str, ...]
  declare: Callable[[argparse.ArgumentParser], None]
  takes_config: bool = False
  details: str = ""


def parse(command: Command, argv: list[str]) -> argparse.Namespace:
  """The values of a command's flags. `argv` has the program's name first.

  Without any argument the help is printed and the process ends with code 2. Raises `UserError` for an unknown
  flag or a wrong value.
  """
  parser = _Parser(command)
  if not argv[1:]:
    parser.print_help()
    sys.exit(2)
  words, overrides = configurations.split_words(argv[1:])
  parser.check_names(words)
  values = parser.parse_args(words)
  if overrides and not command.takes_config:
    raise UserError(
      f"python -m {command.module} takes no configuration, so --config.{overrides[0].key} has no meaning"
    )
  values.overrides = overrides
  return values


def configuration(values: argparse.Namespace, default: Callable[[], ConfigDict] | None = None) -> ConfigDict:
  """The configuration that the flags of `parse` ask for; `default` makes it where they name none.

  Raises `UserError`.
  """
  return configurations.resolve(values.config, values.overrides, default)


def start(main: Callable[[list[str]], int]) -> None:
  """Runs a command and ends the process: a `UserError` is one line on stderr and exit code 2.

  So is a file that cannot be written or read for a reason outside of the program.
  """
  for stream in (sys.stdout, sys.stderr):
    if hasattr(stream, "reconfigure"):
      # A name in another alphabet must not end a run on an ASCII terminal; a log shows each line at once.
      stream.reconfigure(errors="backslashreplace", line_buffering=True)
  try:
    code = main(sys.argv)
  except UserError as error:
    print("error: " + " ".join(str(error).split()), file=sys.stderr)
    code = 2
  except OSError as error:
    if error.errno not in NOT_OURS:
      raise
    print(f"error: {error.filename or 'a file'} cannot be written or read: {error.strerror}", file=sys.stderr)
    code = 2
  except KeyboardInterrupt:
    code = 130
  sys.exit(code)


def shown(module: str, *words: str) -> str:
  """A command for the user to paste, with its words quoted for the shell."""
  return shlex.join(["python", "-m", module, *words])


def workdir(path: str) -> str:
  """The absolute path of a `--workdir`: a folder, or `gs://BUCKET/FOLDER`.

  Raises `UserError` for other buckets, for an empty path, and as `text`.
  """
  if not path:
    raise UserError("--workdir is empty: name a folder")
  if "://" in path and not in_bucket(path):
    raise UserError(
      f"--workdir {path}: must be a folder, or gs://BUCKET/FOLDER; other buckets have to be mounted"
    )
  return text(absolute(path))


def out(path: str, flag: str = "--out") -> str:
  """The path of an `--out`, or of another flag that says where to write on a disk.

  `~` is expanded, which a shell leaves as it is in `--out=~/x`. Raises `UserError` for an empty one, which
  would be the folder at hand, for a bucket, which would be a folder called `gs:` there, and as `text`.
  """
  if not path:
    raise UserError(f"{flag} is empty: name where to write")
  if "://" in path:
    raise UserError(f"{flag} {path}: must be on a disk; mount the bucket, or choose another place")
  return text(os.path.expanduser(path))


def text(path: str) -> str:
  """The path as it is. Raises `UserError` for one that is no text to this process.

  On a terminal of ASCII or Latin-1 a name in another alphabet is none; libraries in C++ then fail late.
  """
  try:
    path.encode()
  except UnicodeEncodeError:
    reason = f"is no text in this terminal's encoding, {sys.getfilesystemencoding()}"
    raise UserError(f"{path} {reason}: set PYTHONUTF8=1, or choose a folder of another name") from None
  return path


class _Parser(argparse.ArgumentParser):
  """The parser of one command; a mistake is a `UserError`."""

  def __init__(self, command: Command):
    super().__init__(
      prog=f"python -m {command.module}",
      description=command.summary,
      epilog=_epilog(command),
      formatter_class=_Help,
      allow_abbrev=False,
    )
    if command.takes_config:
      _declare_config(self)
    command.declare(self)

  def error(self, message: str) -> None:
    raise UserError(message.replace("the following arguments are required", "missing"))

  def check_names(self, words: list[str]) -> None:
    """Raises `UserError` for a flag that does not exist, with the nearest one that does."""
    known = [name for action in self._actions for name in action.option_strings]
    for word in words:
      name = word.split("=")[0]
      if name == "--":
        return
      if name.startswith("--") and name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise UserError(f"{name} is no flag of {self.prog}; did you mean {near}? --help lists all")


class _Help(argparse.RawDescriptionHelpFormatter):
  """Lines of 100 columns; the meaning of a flag begins in column 28."""

  def __init__(self, prog: str):
    super().__init__(prog, max_help_position=28, width=100)


def _declare_config(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--config",
    metavar="NAME_OR_PATH[:VARIANT,...]",
    help="a shipped configuration by name (quickstart, heads, ...) or a Python file with get_config()",
  )
  parser.add_argument(
    "--config.KEY",
    metavar="VALUE",
    dest="unused",
    default=argparse.SUPPRESS,
    help="overrides one value of the configuration, such as --config.data.path=pictures.zip",
  )


def _epilog(command: Command) -> str:
  title = "examples:" if len(command.examples) > 1 else "example:"
  examples = [title, *(f"  {example}" for example in command.examples)]
  parts = [command.details.strip(), "\n".join(examples)]
  return "\n\n".join(part for part in parts if part)
