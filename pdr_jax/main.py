"""`python -m pdr_jax.main` trains; see `pdr_jax.cli.train`."""

if __name__ == "__main__":
  from pdr_jax.cli import runtime

  runtime.keep_freed_memory()  # before NumPy and JAX are imported and start threads

  from pdr_jax.cli.flags import start
  from pdr_jax.cli.train import main

  start(main)
