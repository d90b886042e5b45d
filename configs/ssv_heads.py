"""SSV on embedded heads: azimuth, elevation and tilt from single pictures, without any label.

    python -m pdr_jax.main --config configs/ssv_heads.py --workdir runs/ssv
    python -m pdr_jax.evaluate --workdir runs/ssv --config.tasks=viewpoint

Narrow networks and 32 x 32 pictures, for two CPU cores. Variants
(`configs/ssv_heads.py:NAME[,NAME]`): `parity` (the released code's choices), `no_symmetry` and
`no_image` (ablations).
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = variant(base("ssv"), "small")
  config.data.update(name="heads", train_examples=4_000, val_examples=200)
  config.ssv.update(azimuth=45.0, elevation=28.0, tilt=14.0)  # of the heads: 40, 25 and 12
  config.train.update(steps=8_000, log_every=100, validate_every=500, figure_every=500, checkpoint_every=500)
  return variant(config, variants)
