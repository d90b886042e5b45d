"""UTKFace (aligned and cropped), from a folder or zip of images.

    python -m pdr_jax.main --config configs/utkface.py --workdir runs/utkface --config.data.path=FOLDER_OR_ZIP

Variants (`configs/utkface.py:NAME[,NAME]`): `unsup3d` (LOOCC off), `parity` (the released code's choices),
`small` (for two CPU cores).
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = base()
  config.data.update(name="image_folder", train_examples=0, val_examples=0, crop=(20, 20, 180, 180))
  return variant(config, variants)
