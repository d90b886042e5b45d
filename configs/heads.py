"""Embedded heads at the published widths: faces that the program draws itself, with exact truth.

    python -m pdr_jax.main --config configs/heads.py --workdir runs/heads

Variants (`configs/heads.py:NAME[,NAME]`): `unsup3d` (LOOCC off), `parity` (the released code's choices),
`small` (for two CPU cores).
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = base()
  return variant(config, variants)
