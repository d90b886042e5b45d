"""`python -m pdr_jax.export` exports a trained run; see `pdr_jax.cli.export`."""

from pdr_jax.cli.export import main
from pdr_jax.cli.flags import start

if __name__ == "__main__":
  start(main)
