"""`python -m pdr_jax.forecast` foretells frames; see `pdr_jax.cli.forecast`."""

from pdr_jax.cli.flags import start
from pdr_jax.cli.forecast import main

if __name__ == "__main__":
  start(main)
