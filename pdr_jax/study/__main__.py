"""`python -m pdr_jax.study` trains and evaluates many methods into one table; see `pdr_jax.cli.study`."""

from pdr_jax.cli import runtime

if __name__ == "__main__":
  runtime.keep_freed_memory()  # before NumPy and JAX are imported and start threads

from pdr_jax.cli.flags import start
from pdr_jax.cli.study import main

if __name__ == "__main__":
  start(main)
