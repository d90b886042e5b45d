"""DrNET on the EPFL multi-view cars on their turning platforms, whole cars held out.

    python -m pdr_jax.main --config configs/drnet_epfl_cars.py --workdir runs/epfl \
        --config.data.path=FOLDER_OR_ZIP

A `labels.csv` says in `car` and `frame` which picture is which. Any other video goes the same way: talking
faces, for example, with `--config.data.label_kinds=speaker:person`. Variants
(`configs/drnet_epfl_cars.py:NAME[,NAME]`): `parity` and `parity_py` (what the released codes do),
`autoencoder` (a baseline), `no_adversary`, `small`.
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = base("drnet")
  config.data.update(name="image_folder", side=64, frames=12, train_examples=0, val_examples=20)
  config.data.label_kinds = "car:sequence"
  config.drnet.update(width=32, skips=True)
  config.train.update(batch_size=32, steps=4_000, validate_every=500, figure_every=500, checkpoint_every=500)
  config.train.gradient_norms_every = 0
  return variant(config, variants)
