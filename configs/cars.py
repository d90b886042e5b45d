"""Cars with the published car settings (specification, section 5), from a folder or zip of images.

    python -m pdr_jax.main --config configs/cars.py --workdir runs/cars --config.data.path=FOLDER_OR_ZIP

Variants (`configs/cars.py:NAME[,NAME]`): `unsup3d` (LOOCC off), `parity` (the released code's choices),
`small` (for two CPU cores).
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = variant(base(), "cars")
  config.data.update(name="image_folder", train_examples=0, val_examples=0)
  config.train.batch_size = 256
  return variant(variant(config, variants), "plain")
