"""What a PyTorch checkpoint does not say about itself: the scene of the published face models. Widths and
heads are read from the file.
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = variant(base(), "parity,unsup3d")
  config.data.name = "image_folder"
  return variant(config, variants)
