r"""Faces of the ICT Face Model, with exact truth: the stand-in for the Basel faces of Unsup3D's test.

    python -m pdr_jax.main --config configs/ict_faces.py --workdir runs/ict_faces \
        --config.data.path=PATH/ict_facekit_small.npz

Variants (`configs/ict_faces.py:NAME[,NAME]`): `unsup3d` (LOOCC off), `parity` (the released code's choices),
`small` (for two CPU cores).
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = base()
  config.data.update(name="ict_faces")
  return variant(config, variants)
