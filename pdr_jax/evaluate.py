"""`python -m pdr_jax.evaluate` evaluates a run, an export, or a suite of methods (`pdr_jax.cli.evaluate`)."""

from pdr_jax.cli.evaluate import main
from pdr_jax.cli.flags import start

if __name__ == "__main__":
  start(main)
