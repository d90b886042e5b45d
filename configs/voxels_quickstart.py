"""3D shapes from single silhouettes of embedded solids, small enough for two CPU cores.

    python -m pdr_jax.main --config configs/voxels_quickstart.py --workdir runs/voxels

Nothing but the silhouettes is learned from: no voxels, no azimuths, no second view of any shape. Variants
(`configs/voxels_quickstart.py:NAME[,NAME]`): `free`, `adversarial`, `circular` (the pose), `mu_vae`,
`mu_vae_per_dimension`, `mmd`, `kl`, `none` (what holds the code), `parity` (the released code's choices).
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = base("voxels")
  config.data.update(train_examples=4_000, val_examples=200)
  config.optim.learning_rate = 2e-3
  config.optim.schedule = "cosine"
  config.train.update(batch_size=16, steps=5_000, log_every=100, validate_every=500, figure_every=1_000)
  config.train.update(checkpoint_every=500, gradient_norms_every=0)
  config.voxels.update(width_encoder=32, width_decoder=16, judge_width=128)
  config.voxels.update(pose="circular", regulariser="kl", beta=1.0, sample_std=1.0)
  config.voxels.update(absorption="occupancy", symmetric=True)
  return variant(config, variants)
