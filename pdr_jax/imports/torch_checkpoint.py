"""`python -m pdr_jax.imports.torch_checkpoint` makes an export of a `.pth` file.

See `pdr_jax.cli.import_torch`.
"""

from pdr_jax.cli.flags import start
from pdr_jax.cli.import_torch import main

if __name__ == "__main__":
  start(main)
