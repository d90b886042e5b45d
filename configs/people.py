"""Embedded people: heads with identity, expression, attributes and part masks.

Its test splits go beyond the training light and viewpoint.

    python -m pdr_jax.main --config configs/people.py --workdir runs/people

Variants (`configs/people.py:NAME[,NAME]`): `unsup3d` (LOOCC off), `parity` (the released code's choices),
`small` (for two CPU cores).
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = base()
  config.data.update(name="people")
  return variant(variant(config, variants), "shallow")
