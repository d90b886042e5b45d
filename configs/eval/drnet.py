r"""Does the adversary of DrNET keep identity out of the pose? In one table, with it and without, three seeds.

    python -m pdr_jax.study --config configs/eval/drnet.py --workdir runs/drnet_table
    python -m pdr_jax.study --config configs/eval/drnet.py:coil --workdir runs/drnet_coil_table \
        --config.run.data.path=FOLDER_OR_ZIP

Variants: none for embedded people that turn, `coil` for COIL-100's objects on a turntable, whole objects held
out. The networks are those of `configs/drnet_heads.py` and `configs/drnet_coil.py`. The same command again
continues.
"""

from ml_collections import ConfigDict

from pdr_jax.config import base
from pdr_jax.evaluation.config import get_config as evaluation

# The data, and what is asked of each block: who it is, and where it looks.
DATA = {
    "": (dict(name="people", frames=8, train_examples=2_000, val_examples=300), ("identity", "yaw")),
    "coil": (
        dict(
            name="image_folder", frames=12, train_examples=0, val_examples=90,
            label_kinds="object:sequence,azimuth_deg:numbers",
        ),
        ("object", "azimuth_deg"),
    ),
}


def get_config(variants: str = "") -> ConfigDict:
  if variants not in DATA:
    raise ValueError(f"unknown study {variants!r}; choose coil, or none for the embedded people")
  run, probes = base("drnet"), evaluation()
  data, probes.labels = DATA[variants]
  run.data.update(side=32, **data)
  run.drnet.update(width=16, content_size=64)
  run.train.update(batch_size=32, steps=2_000, validate_every=500, figure_every=1_000, checkpoint_every=500)
  run.train.gradient_norms_every = 0
  probes.tasks, probes.seeds = ("leakage",), 1
  return ConfigDict(dict(
      question="Does the adversary keep identity out of the pose?",
      methods=("drnet", "drnet:no_adversary"),
      seeds=3,             # representations of each method
      run=run,
      evaluation=probes,
  ))
