"""SSV on embedded heads under an overcast sky: azimuth, elevation and tilt from pictures, without any label.

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
  config.data.update(name="heads_overcast", train_examples=4_000, val_examples=200)
  config.ssv.update(azimuth=35.0, elevation=20.0, tilt=9.0)  # deviations like those of the heads' views
  config.train.update(steps=2_000, log_every=100, validate_every=500, figure_every=500, checkpoint_every=500)
  return variant(config, variants)
