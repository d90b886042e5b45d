r"""Viewpoint without labels in one table: SSV, its two ablations, untrained networks and pixels, three seeds.

    python -m pdr_jax.study --config configs/eval/ssv.py --workdir runs/ssv_table
    python -m pdr_jax.study --config configs/eval/ssv.py:cars --workdir runs/ssv_cars_table

Variants: none for the embedded heads, `cars` for the embedded cars over the full circle. Every run is that of
`configs/ssv_heads.py` or `configs/ssv_cars.py`. The same command again continues.
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant
from pdr_jax.evaluation.config import get_config as evaluation

DATA = {
    "": (dict(name="heads_overcast"), dict(azimuth=35.0, elevation=20.0, tilt=9.0)),
    "cars": (dict(name="embedded_cars_around"), dict(azimuth=180.0, elevation=20.0, tilt=5.0)),
}


def get_config(variants: str = "") -> ConfigDict:
  if variants not in DATA:
    raise ValueError(f"unknown study {variants!r}; choose cars, or none for the embedded heads")
  run, probes = variant(base("ssv"), "small"), evaluation()
  data, ranges = DATA[variants]
  run.data.update(train_examples=4_000, val_examples=200, **data)
  run.ssv.update(ranges)
  run.train.update(steps=2_000, log_every=100, validate_every=500, figure_every=1_000, checkpoint_every=500)
  probes.update(tasks=("viewpoint",), checkpoint="latest")  # where the rate has fallen to 0
  return ConfigDict(dict(
      question="What finds the viewpoint without labels?",
      methods=("ssv", "ssv:no_symmetry", "ssv:no_image", "random", "pixels"),
      seeds=3,             # representations of each method
      run=run,
      evaluation=probes,
  ))
