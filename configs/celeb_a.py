r"""CelebA, from TFDS; or from a folder or zip of aligned images.

    python -m pdr_jax.main --config configs/celeb_a.py --workdir runs/celeb_a [\
        --config.data.name=image_folder --config.data.path=FOLDER_OR_ZIP \
        --config.data.crop="(12, 32, 76, 96)"]

Variants (`configs/celeb_a.py:NAME[,NAME]`): `unsup3d` (LOOCC off), `parity` (the released code's choices),
`small` (for two CPU cores).
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = base()
  # the crop of Unsup3D for aligned images of 178 x 218 pixels; halve it for images of half that size
  config.data.update(name="celeb_a", train_examples=0, val_examples=2_000, crop=(24, 64, 152, 192))
  return variant(config, variants)
