"""Physically disentangled representations: depth, albedo, light and viewpoint from plain images."""

__version__ = "0.2.0"


def load(folder: str | None = None):
  """Reads an exported model, or the one shipped with the package (see `pdr_jax.exports.reader.load`)."""
  from pdr_jax.exports import reader  # here, so that importing the package imports nothing else

  return reader.load(folder)
