"""`python -m pdr_jax.evaluate` evaluates a run or an export (`pdr_jax.cli.evaluate`)."""

from pdr_jax.cli.evaluate import main
from pdr_jax.cli.flags import start

if __name__ == "__main__":
  start(main)
