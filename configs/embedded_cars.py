"""Embedded cars with the published car settings (specification, section 5) and exact truth.

Its test splits go beyond the training ranges.

    python -m pdr_jax.main --config configs/embedded_cars.py --workdir runs/embedded_cars

The same with meshes of your own (npz or glb): `--config.data.name=car_meshes --config.data.path=FOLDER`.
Variants (`configs/embedded_cars.py:NAME[,NAME]`): `unsup3d` (LOOCC off), `parity` (the released code's
choices), `small` (for two CPU cores).
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = variant(base(), "cars")
  config.data.update(name="embedded_cars")
  return variant(variant(config, variants), "plain")
