"""One module for each data source, found by its name: a source is a new file here with the one name `SOURCE`.

The modules import what is slow (JAX, TensorFlow Datasets) when they open their data, not before.
"""

import pkgutil


def names() -> list[str]:
  """The names of the sources here."""
  return sorted(module.name for module in pkgutil.iter_modules(__path__))
