"""`python -m pdr_jax` lists the commands; see `pdr_jax.cli.commands`."""

from pdr_jax.cli.commands import main
from pdr_jax.cli.flags import start

if __name__ == "__main__":
  start(main)
