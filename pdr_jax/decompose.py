"""`python -m pdr_jax.decompose` takes pictures apart; see `pdr_jax.cli.decompose`."""

from pdr_jax.cli.decompose import main
from pdr_jax.cli.flags import start

if __name__ == "__main__":
  start(main)
