"""Embedded heads, small enough for two CPU cores: data, training and figures in ten minutes.

    python -m pdr_jax.main --config configs/quickstart.py --workdir runs/quickstart

Variants (`configs/quickstart.py:NAME[,NAME]`): `unsup3d` (LOOCC off), `parity` (the released code's choices).
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = variant(base(), "small")
  config.data.update(train_examples=4_000, val_examples=200)
  config.optim.update(learning_rate=1e-3, schedule="cosine")
  config.train.update(batch_size=32, steps=1_000, validate_every=250, figure_every=250, checkpoint_every=250)
  config.train.gradient_norms_every = 0  # their program compiles for a minute
  return variant(config, variants)
