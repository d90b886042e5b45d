"""`python -m pdr_jax.report` writes one HTML file about runs; see `pdr_jax.cli.report`."""

from pdr_jax.cli.flags import start
from pdr_jax.cli.report import main

if __name__ == "__main__":
  start(main)
