r"""Pictures in canonical pose and without their light beside other representations, at an equal budget.

    python -m pdr_jax.study --config configs/eval/normalized.py --workdir runs/normalized_people
    python -m pdr_jax.study --config configs/eval/normalized.py:yale_b --workdir runs/normalized_yale_b \
        --config.run.data.path=FOLDER_OR_ZIP
    python -m pdr_jax.study --config configs/eval/normalized.py:on_normalized --workdir runs/on_normalized \
        --config.run.data.normalize_with=EXPORT

Variants: none for the embedded people; `heads`: trained as `configs/quickstart.py` on heads and read on
people, whom no method has seen (a finished quickstart may be copied to `WORKDIR/pdr/seed_0`); `cars` for the
embedded cars; `celeb_a` (aligned images of 178 x 218;
for half that size `--config.run.data.crop="(12, 32, 76, 96)"`), split by person; `yale_b` (one person under
light from elsewhere); `on_normalized`: three methods trained on people that an export has
normalised, to be set beside those of the first study. PDR is the recipe of `configs/quickstart.py`; all
methods have its batch and learning rate, and see as many pictures. The columns `pdr, normalized` and `random,
normalized` have as many numbers as PDR's encoder and as `pca`. The same command again continues.
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant
from pdr_jax.evaluation.config import get_config as evaluation

PEOPLE = dict(name="people", train_examples=4_000, val_examples=600)
DATA = {
    "": PEOPLE,
    "cars": dict(name="embedded_cars", train_examples=4_000, val_examples=600),
    "celeb_a": dict(name="image_folder", crop=(24, 64, 152, 192), split_by="identity", val_examples=1_000),
    "yale_b": dict(name="image_folder", crop=(12, 24, 156, 168), val_examples=600),
    "heads": dict(name="heads", train_examples=4_000, val_examples=200),
    "on_normalized": PEOPLE,
}
# Variants of PDR by data; else `small` alone.
SCENES = {
    "": "shallow,small", "on_normalized": "shallow,small",
    "cars": "cars,small,plain", "yale_b": "small,frontal",
}
TASKS = {"celeb_a": ("linear", "identification")}
TRAINED = ("vae", "vq_vae", "simclr")  # on normalised pictures


def get_config(variants: str = "") -> ConfigDict:
  if variants not in DATA:
    known = ", ".join(filter(None, DATA))
    raise ValueError(f"unknown study {variants!r}; choose {known}, or none for the embedded people")
  run, probes = variant(base(), SCENES.get(variants, "small")), evaluation()
  run.data.update({"train_examples": 0} | DATA[variants])
  run.optim.update(learning_rate=1e-3, schedule="cosine")
  run.train.update(batch_size=32, steps=1_000, validate_every=250, figure_every=250, checkpoint_every=250)
  run.train.gradient_norms_every = 0
  probes.update(batch_size=32, seeds=1, tasks=TASKS.get(variants, ("identification", "robustness")))
  if variants == "heads":
    probes.data.update(PEOPLE)
  if variants == "yale_b":  # all faces are frontal: what differs is the light
    probes.update(labels=("subject",), identity="subject")
    probes.light_angles = ("light_azimuth_deg", "light_elevation_deg")
  others = TRAINED if variants == "on_normalized" else (
      "pdr", "pdr:unsup3d", "random", "pca", "pixels", "vae", "beta_vae", "vq_vae", "simclr", "vicreg", "mae",
      "supervised",
  )
  return ConfigDict(dict(
      question="Is the picture in canonical pose and without its light the better representation?",
      methods=others,
      blocks=("encoder", "normalized"),  # that have columns of their own, beside all of a method
      seeds=3,             # representations of each method
      pictures=32_000,     # that each method sees
      run=run,
      evaluation=probes,
  ))
