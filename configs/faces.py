r"""Embedded people and faces of the ICT Face Model, half of each: the training of the model that is shipped.

    python -m pdr_jax.main --config configs/faces.py --workdir runs/faces \
        --config.data.path=PATH/ict_facekit_small.npz
    python -m pdr_jax.export --workdir runs/faces --out exported/faces --half

64 x 64 pictures and networks of at most 6 MB as they are shipped, for an hour of a CPU core. Variants
(`configs/faces.py:NAME[,NAME]`): `unsup3d` (LOOCC off).
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = variant(base(), "small")
  config.data.update(name="faces", side=64, train_examples=8_000, val_examples=400)
  config.networks.update(width_map=16, width_vector=12, zdim=56, zdim_confidence=16)  # 5.9 MB as half
  config.optim.update(learning_rate=1e-3, schedule="cosine")
  config.train.update(batch_size=32, steps=2_000, validate_every=250, figure_every=250, checkpoint_every=250)
  config.train.gradient_norms_every = 0
  config = variant(config, variants)
  config.scene.update(min_depth=0.93, max_depth=1.06, border_depth=1.021)  # between those of people and heads
  return config
