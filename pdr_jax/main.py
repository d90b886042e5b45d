"""`python -m pdr_jax.main` trains; see `pdr_jax.cli.train`."""

from pdr_jax.cli.flags import start
from pdr_jax.cli.train import main

if __name__ == "__main__":
  start(main)
