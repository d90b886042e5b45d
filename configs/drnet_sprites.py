"""DrNET on Sprites (Li and Mandt 2018), composed from the sheets of the Liberated Pixel Cup.

    python -m pdr_jax.main --config configs/drnet_sprites.py --workdir runs/sprites --config.data.path=FOLDER
    python -m pdr_jax.evaluate --workdir runs/sprites --config.tasks=swaps

Variants (`configs/drnet_sprites.py:NAME[,NAME]`): `parity` and `parity_py` (what the released codes do),
`autoencoder` (a baseline), `no_adversary`, `small`.
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = base("drnet")
  config.data.update(name="sprites", side=32, frames=8, train_examples=0, val_examples=200)
  config.drnet.update(width=16, pose_size=10)
  config.train.update(batch_size=32, steps=8_000, validate_every=500, figure_every=500, checkpoint_every=500)
  config.train.gradient_norms_every = 0
  return variant(config, variants)
