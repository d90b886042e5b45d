r"""Inverse graphics in one table: what holds the code, times how a pose is found, three seeds of each.

    python -m pdr_jax.study --config configs/eval/voxels.py --workdir runs/voxels_table
    python -m pdr_jax.study --config configs/eval/voxels.py:modelnet10 --workdir runs/voxels_modelnet10 \
        --config.run.data.path=FOLDER
    python -m pdr_jax.study --config configs/eval/voxels.py:digits --workdir runs/voxels_digits

Variants: none for the embedded solids, `shaded` for grey ones from above, `modelnet10`, and `digits`, which
have no exact voxels, so that only the probe of their classes is scored. Every run has the networks of the
quickstart of voxels, its rays and its symmetry. `--config.methods` and `--config.seeds` make the table
smaller; the same command again continues.
"""

from ml_collections import ConfigDict

from pdr_jax.config import base
from pdr_jax.evaluation.config import get_config as evaluation

DATA = {
    "": dict(name="solids"),
    "shaded": dict(name="solids_shaded"),
    "modelnet10": dict(name="modelnet10_voxels", train_examples=0, val_examples=200),
    "digits": dict(name="digits", train_examples=0, val_examples=0),
}
CODES = ("mu_vae", "mu_vae_per_dimension", "mmd", "kl")
POSES = ("free", "adversarial", "circular")


def get_config(variants: str = "") -> ConfigDict:
  if variants not in DATA:
    known = ", ".join(filter(None, DATA))
    raise ValueError(f"unknown study {variants!r}; choose {known}, or none for the embedded solids")
  run, probes = base("voxels"), evaluation()
  run.data.update({"train_examples": 4_000, "val_examples": 200} | DATA[variants])
  run.optim.update(learning_rate=2e-3, schedule="cosine")
  run.train.update(batch_size=16, steps=1_500, log_every=100, validate_every=500, figure_every=1_500)
  run.train.update(checkpoint_every=500, gradient_norms_every=0)
  run.voxels.update(width_encoder=32, width_decoder=16, judge_width=128)
  run.voxels.update(absorption="occupancy", symmetric=True)
  run.voxels.elevation = 30.0 if variants == "shaded" else 0.0
  probes.tasks = ("voxels", "linear")
  probes.batch_size = 50
  probes.seeds = 1
  return ConfigDict(dict(
      question="What holds the code of a shape, and how is a pose found?",
      methods=tuple(f"voxels:{code},{pose}" for code in CODES for pose in POSES),
      seeds=3,             # representations of each method
      run=run,
      evaluation=probes,
  ))
