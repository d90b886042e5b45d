"""SSV on embedded cars over the full circle of azimuths, without any label.

    python -m pdr_jax.main --config configs/ssv_cars.py --workdir runs/ssv_cars
    python -m pdr_jax.evaluate --workdir runs/ssv_cars --config.tasks=viewpoint

Narrow networks and 32 x 32 pictures, for two CPU cores. Variants (`configs/ssv_cars.py:NAME[,NAME]`):
`parity` (the released code's choices), `no_symmetry` and `no_image` (ablations).
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = variant(base("ssv"), "small")
  config.data.update(name="embedded_cars_around", train_examples=4_000, val_examples=200)
  config.ssv.update(azimuth=180.0, elevation=20.0, tilt=5.0)  # elevations of the cars: 22 to 48
  config.train.update(steps=3_000, log_every=100, validate_every=500, figure_every=500, checkpoint_every=500)
  return variant(config, variants)
