"""DrNET on COIL-100's objects on a turntable, whole objects held out.

    python -m pdr_jax.main --config configs/drnet_coil.py --workdir runs/coil --config.data.path=FOLDER_OR_ZIP
    python -m pdr_jax.evaluate --workdir runs/coil --config.tasks=leakage,swaps

A `labels.csv` says in `object` what is seen; pictures are in the order of their names, by azimuth.
Variants (`configs/drnet_coil.py:NAME[,NAME]`): `parity` and `parity_py` (what the released codes do),
`autoencoder` (a baseline), `no_adversary`, `small`.
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = base("drnet")
  config.data.update(name="image_folder", side=32, frames=12, train_examples=0, val_examples=90)
  config.data.label_kinds = "object:sequence,azimuth_deg:numbers"
  config.drnet.update(width=16, content_size=64)
  config.train.update(batch_size=32, steps=4_000, validate_every=500, figure_every=500, checkpoint_every=500)
  config.train.gradient_norms_every = 0
  return variant(config, variants)
