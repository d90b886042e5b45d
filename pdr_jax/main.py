"""`python -m pdr_jax.main` trains; see `pdr_jax.cli.train`."""

from pdr_jax.cli import runtime

if __name__ == "__main__":
  runtime.keep_freed_memory()  # before NumPy and JAX are imported and start threads

from pdr_jax.cli.flags import start
from pdr_jax.cli.train import main

if __name__ == "__main__":
  start(main)
