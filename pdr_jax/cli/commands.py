"""`python -m pdr_jax`: the list of commands."""

import pdr_jax
from pdr_jax.cli import (
  configurations,
  decompose,
  evaluate,
  export,
  forecast,
  import_torch,
  report,
  study,
  train,
)  # fmt: skip
from pdr_jax.errors import UserError

MODULES = (train, evaluate, study, decompose, forecast, export, report, import_torch)
COMMANDS = tuple(module.COMMAND for module in MODULES)


def main(argv: list[str]) -> int:
  """Prints every command with a line about it, and the shipped configurations."""
  unknown = [word for word in argv[1:] if word not in ("-h", "--help")]
  if unknown:
    raise UserError(f"python -m pdr_jax takes no {unknown[0]!r}: the commands are {', '.join(names())}")
  print(f"pdr_jax {pdr_jax.__version__}: {pdr_jax.__doc__}\n")
  for command in COMMANDS:
    print(f"  python -m {command.module}\n      {command.summary}\n      such as: {command.examples[0]}")
  print(
    "\n--help after any of them lists its flags. Shipped configurations: "
    + ", ".join(configurations.shipped())
  )
  return 0


def names() -> list[str]:
  """What follows `python -m`, for every command."""
  return [command.module for command in COMMANDS]
