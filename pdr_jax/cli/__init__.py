"""The commands: `python -m pdr_jax.NAME` calls `main` of one module here. `flags` is their one parser."""
