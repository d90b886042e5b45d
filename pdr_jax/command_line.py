"""Flags to a configuration: `--config FILE[:variant] --workdir DIR [--config.key=value ...]`, and errors of one line."""

import argparse
import sys
from collections.abc import Callable
from typing import NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from pdr_jax.config_checks import flatten, nearest
from pdr_jax.errors import UserError
from pdr_jax.files import absolute, in_bucket


class Arguments(NamedTuple):
  """What the command line asked for."""

  config: ConfigDict
  workdir: str
  override_config: bool


def parse(argv: list[str], default_config: str = "") -> Arguments:
  """Reads `argv` (program name first); `default_config` is the file when none is named.

  Raises `UserError` for an unknown flag or key, a wrong type, a missing or failing config file.
  """
  words = _joined(argv[1:])
  if default_config and not any(word.split("=")[0] == "--config" for word in words):
    words.insert(0, f"--config={default_config}")
  keys = [word for word in words if _config_key(word)]
  # The file first, without the overrides: an unknown key is then a comparison of names, not an exception to decode.
  plain = _read([argv[0]] + [word for word in words if not _config_key(word)])
  if plain.config is None:
    raise UserError("--config is missing: name a file such as --config configs/quickstart.py")
  if not plain.workdir:
    raise UserError("--workdir is missing: name the folder that takes checkpoints, figures and metrics")
  known = flatten(plain.config)
  sections = {key[:i] for key in known for i in range(len(key)) if key[i] == "."}
  for word in keys:
    key = _config_key(word)
    if key in sections:
      raise UserError(f"config.{key} is a section: set one of its keys, such as config.{nearest(key, list(known))}")
    if key not in known:
      raise UserError(f"config.{key} is unknown; did you mean config.{nearest(key, list(known))}?")
    value = word.split("=", 1)[1] if "=" in word else None
    if value is None and not isinstance(known[key], bool):
      raise UserError(f"config.{key} has no value: write --config.{key}=VALUE, such as {known[key]!r}")
  read = _read([argv[0]] + words, known)
  if "://" in read.workdir and not in_bucket(read.workdir):
    raise UserError(f"--workdir {read.workdir}: must be a folder, or gs://BUCKET/FOLDER; other buckets have to be mounted")
  return Arguments(read.config, absolute(read.workdir), read.override_config)


class Parser(argparse.ArgumentParser):
  """Flags of a program without a configuration; a mistake is a `UserError`. `run` prints the usage."""

  def __init__(self):
    super().__init__(add_help=False, allow_abbrev=False)

  def error(self, message: str) -> None:
    raise UserError(message)


def run(main: Callable[[list[str]], int], usage: str) -> None:
  """Runs a program's `main(argv) -> exit code`; usage without arguments, `UserError` is one line on stderr and exit code 2."""
  if len(sys.argv) < 2 or {"-h", "--help"} & set(sys.argv[1:]):
    print(usage.strip())
    sys.exit(0 if len(sys.argv) > 1 else 2)
  try:
    code = main(sys.argv)
  except UserError as error:
    print("error: " + " ".join(str(error).split()), file=sys.stderr)
    code = 2
  except KeyboardInterrupt:
    code = 130
  sys.exit(code)


def _joined(words: list[str]) -> list[str]:
  """`--config.a b` and `-config.a=b` become `--config.a=b`, the one form that the checks look at."""
  joined = []
  for word in words:
    if joined and _config_key(joined[-1]) and "=" not in joined[-1] and not word.startswith("-"):
      joined[-1] += "=" + word
    else:
      joined.append("-" + word if word.startswith("-config.") else word)
  return joined


def _config_key(word: str) -> str:
  """`--config.data.side=32` -> `data.side`; empty for any other word."""
  for prefix in ("--config.", "--noconfig."):
    if word.startswith(prefix):
      return word[len(prefix) :].split("=", 1)[0]
  return ""


def _read(argv: list[str], known: dict | None = None):
  """absl's parser on fresh flags; its exceptions become one line. `known`: the config's values, for the expected type of a key."""
  values = flags.FlagValues()
  config_flags.DEFINE_config_file("config", None, "Config file, with :variant.", lock_config=True, flag_values=values, sys_argv=argv)
  flags.DEFINE_string("workdir", None, "Folder of the run.", flag_values=values)
  flags.DEFINE_bool("override_config", False, "Continue a run although the configuration has changed.", flag_values=values)
  try:
    rest = values(argv)
    if values.config is not None:
      values.config.keys()  # a file that could not be read raises only here
  except Exception as error:  # whatever a config file or a flag parser raises: the user sees its last line
    raise UserError(_one_line(error, known or {})) from error
  if rest[1:]:
    raise UserError(f"unexpected argument {rest[1]!r}: flags are written --name=value")
  return values


def _one_line(error: Exception, known: dict) -> str:
  lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
  if lines[0].startswith("flag --config.") or lines[0].startswith("flag --noconfig."):
    key, _, value = lines[0].removeprefix("flag --config.").split(": ", 1)[0].partition("=")
    return f"config.{key} = {value}: must be {type(known[key]).__name__}, such as {known[key]!r}" if key in known else lines[0]
  if lines[0].startswith("flag --config="):
    return f"config file {lines[0].removeprefix('flag --config=').split(': ', 1)[0]}: {lines[-1]}"
  if not isinstance(error, flags.Error):
    return f"config file cannot be read: {lines[-1].split('] ')[-1]}"
  return lines[0]
