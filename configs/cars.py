"""Cars with the published car settings (specification, section 5), from a folder or zip of images.

    python -m pdr_jax.main --config configs/cars.py --workdir runs/cars --config.data.path=FOLDER_OR_ZIP

Variants (`configs/cars.py:NAME[,NAME]`): `unsup3d` (LOOCC off), `parity` (the released code's choices), `small` (for two CPU cores).
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = base()
  config.data.update(name="image_folder", train_examples=0, val_examples=0)
  config.scene.update(border_depth=1.08, light="directional", diffuse_min=0.5)
  config.loss.update(confidence=False, flip=1.0, perceptual=0.01, smoothness=0.1)
  config.train.batch_size = 256
  return variant(config, variants)
