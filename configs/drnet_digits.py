"""DrNET on moving digits that the package draws, small enough for two CPU cores: some minutes.

    python -m pdr_jax.main --config configs/drnet_digits.py --workdir runs/digits

The published digits: `--config.data.name=moving_mnist --config.data.path=` the folder of MNIST's files.
As published, two digits in two colours, for longer: `--config.data.options=objects=2
--config.data.channels=3`.
Variants (`configs/drnet_digits.py:NAME[,NAME]`): `parity` and `parity_py` (what the released codes do),
`autoencoder` (a baseline), `no_adversary`, `small`.
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = base("drnet")
  config.data.update(
    name="moving_digits", side=32, channels=1, frames=12, train_examples=20_000, val_examples=200
  )
  # Small batches: see docs/training.md.
  config.drnet.update(width=16, reconstruction="cross_entropy", normalise_pose=False)
  config.optim.update(b1=0.5, schedule="cosine")
  config.train.update(
    batch_size=32, steps=10_000, validate_every=1_000, figure_every=1_000, checkpoint_every=1_000
  )
  config.train.gradient_norms_every = 0
  return variant(config, variants)
