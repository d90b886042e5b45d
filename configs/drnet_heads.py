"""DrNET on embedded people that turn: is identity in the content, and azimuth in the pose?

    python -m pdr_jax.main --config configs/drnet_heads.py --workdir runs/turning
    python -m pdr_jax.main --config configs/drnet_heads.py:no_adversary --workdir runs/turning_beta_0
    python -m pdr_jax.evaluate --workdir runs/turning --config.tasks=leakage,swaps

Cars: `--config.data.name=embedded_cars`. Variants (`configs/drnet_heads.py:NAME[,NAME]`): `parity` and
`parity_py` (what the released codes do), `autoencoder` (a baseline), `no_adversary`, `small`.
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = base("drnet")
  config.data.update(name="people", side=32, frames=8, train_examples=2_000, val_examples=300)
  config.drnet.update(width=16, content_size=64)
  config.train.update(batch_size=32, steps=4_000, validate_every=500, figure_every=500, checkpoint_every=500)
  config.train.gradient_norms_every = 0
  return variant(config, variants)
