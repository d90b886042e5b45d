"""DrNET on the EPFL multi-view cars on their turning platforms, whole cars held out.

    python -m pdr_jax.main --config configs/drnet_epfl_cars.py --workdir runs/epfl \
        --config.data.path=FOLDER_OR_ZIP

A `labels.csv` says in `car` and `frame` which picture is which. A clip is every seventh frame, most of a
turn: in frames in a row the part of the turn tells which clip it is, and counts as content. Any other video
goes the same way: talking faces, for example, with `--config.data.label_kinds=speaker:person
--config.data.options=`.
Variants (`configs/drnet_epfl_cars.py:NAME[,NAME]`): `parity` and `parity_py` (what the released codes do),
`autoencoder` (a baseline), `no_adversary`, `small`.
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = base("drnet")
  config.data.update(
    name="image_folder", side=32, frames=12, options="stride=7", flip=True, train_examples=0, val_examples=20
  )
  config.data.label_kinds = "car:sequence,frame:frame"
  # Small batches: see docs/training.md.
  config.drnet.update(width=32, pose_size=10, reconstruction="cross_entropy", normalise_pose=False)
  config.optim.update(b1=0.5, schedule="cosine")
  config.train.update(batch_size=32, steps=5_000, validate_every=500, figure_every=500, checkpoint_every=500)
  config.train.gradient_norms_every = 0
  return variant(config, variants)
