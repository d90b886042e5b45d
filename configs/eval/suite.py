r"""Every method on every task in one table: small networks on 32 x 32 pictures, for two CPU cores.

    python -m pdr_jax.study --config configs/eval/suite.py --workdir runs/suite_people
    python -m pdr_jax.study --config configs/eval/suite.py:cars --workdir runs/suite_cars
    python -m pdr_jax.study --config configs/eval/suite.py:celeb_a --workdir runs/suite_celeb_a \
        --config.run.data.path=FOLDER_OR_ZIP
    python -m pdr_jax.study --config configs/eval/suite.py:folder --workdir runs/suite_mine \
        --config.run.data.path=FOLDER_OR_ZIP

Variants: none for the embedded people; `cars` for the embedded cars, with the published car settings;
`celeb_a` for its aligned images (89 x 109: `--config.run.data.crop="(12, 32, 76, 96)"`) split by identity;
`folder` for any labelled folder or zip. `--config.run.KEY` are the keys of a training configuration,
`--config.evaluation.KEY` those of an evaluation. The same command again continues.
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant
from pdr_jax.evaluation.config import get_config as evaluation

DATA = {
    "": dict(name="people", val_examples=600),
    "cars": dict(name="embedded_cars", val_examples=600),
    "celeb_a": dict(name="image_folder", val_examples=1_000, crop=(24, 64, 152, 192), split_by="identity"),
    "folder": dict(name="image_folder", val_examples=1_000),
}

SCENES = {"": "shallow,small", "cars": "cars,small,plain"}  # else small alone


def get_config(variants: str = "") -> ConfigDict:
  if variants not in DATA:
    known = "cars, celeb_a or folder, or none for the embedded people"
    raise ValueError(f"unknown study {variants!r}; choose {known}")
  run, probes = variant(base(), SCENES.get(variants, "small")), evaluation()
  run.data.update(train_examples=4_000, **DATA[variants])
  run.train.update(steps=600, validate_every=300, figure_every=300, checkpoint_every=300)
  run.train.gradient_norms_every = 0
  probes.batch_size = 32
  probes.segmentation.update(steps=300, starts=("frozen",))
  return ConfigDict(dict(
      question="Whose features tell most of faces and objects, at an equal budget?",
      methods=(
          "pdr", "pdr:unsup3d", "vae", "beta_vae", "mu_vae", "vq_vae", "simclr", "vicreg", "mae",
          "supervised", "random", "pca", "pixels",
      ),
      seeds=3,             # representations of each method
      pictures=0,          # that each method sees at most; 0: run.train.steps batches
      run=run,
      evaluation=probes,
  ))
