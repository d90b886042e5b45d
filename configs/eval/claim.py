r"""The work's claim at the end of training, one set a study: every method learns until it gets no better.

    python -m pdr_jax.study --config configs/eval/claim.py --workdir runs/claim_people
    python -m pdr_jax.study --config configs/eval/claim.py:utkface --workdir runs/claim_utkface \
        --config.run.data.path=FOLDER_OR_ZIP
    python -m pdr_jax.study --workdir runs/claim_people --with runs/claim_utkface --into docs/results/claim.md

Variants: none for the embedded people; `cars` for the embedded cars; `celeb_a` (aligned images of 178 x 218;
for half that size `--config.run.data.crop="(12, 32, 76, 96)"`), split by person; `utkface` (age, gender,
race); `fer2013` (emotion, published split); `yale_b` (person under unseen light); `stanford_cars` (body);
`face_synthetics` (segmentation; a sample of 80 pictures tests on 20: too few to tell methods apart). Sets of
photographs need `--config.run.data.path`. Networks, batch and rate are those of `configs/quickstart.py`. The
same command again continues.
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant
from pdr_jax.evaluation.config import get_config as evaluation

DATA = {
    "": dict(name="people", train_examples=4_000, val_examples=600),
    "cars": dict(name="embedded_cars", train_examples=4_000, val_examples=600),
    "celeb_a": dict(name="image_folder", crop=(24, 64, 152, 192), split_by="identity", val_examples=1_000),
    "utkface": dict(name="utkface", crop=(20, 20, 180, 180), val_examples=600),
    "fer2013": dict(name="fer2013", val_examples=0),
    "yale_b": dict(name="yale_b", crop=(12, 24, 156, 168), val_examples=600),
    "stanford_cars": dict(name="stanford_cars", val_examples=600),
    "face_synthetics": dict(name="face_synthetics", val_examples=20),
}
CARS = "cars,small,plain"
# Variants of PDR by data; else `small` alone.
SCENES = {"": "shallow,small", "cars": CARS, "stanford_cars": CARS, "yale_b": "small,frontal"}
LABELS = {"stanford_cars": ("body",), "yale_b": ("subject",)}  # none: all that the data have
TASKS = {"yale_b": ("identification", "factors", "robustness"), "face_synthetics": ("segmentation",)}
METHODS = (
    "pdr", "pdr:unsup3d", "vae", "beta_vae", "mu_vae", "vq_vae", "simclr", "vicreg", "mae", "supervised",
    "random", "pca", "pixels",
)
UNLABELLED = "face_synthetics"  # nothing to teach or to probe, and what has no networks segments nothing
PICTURES = 320_000  # each method sees at most


def get_config(variants: str = "") -> ConfigDict:
  if variants not in DATA:
    known = ", ".join(filter(None, DATA))
    raise ValueError(f"unknown study {variants!r}; choose {known}, or none for the embedded people")
  run, probes = variant(base(), SCENES.get(variants, "small")), evaluation()
  run.data.update({"train_examples": 0} | DATA[variants])
  run.optim.update(learning_rate=1e-3, schedule="cosine")
  run.train.update(batch_size=32, patience=0.3, probe_examples=0 if variants == UNLABELLED else 300)
  run.train.update(validate_every=500, checkpoint_every=500, figure_every=5_000, gradient_norms_every=0)
  left_out = ("supervised", "pca", "pixels") if variants == UNLABELLED else ()
  probes.batch_size = 32
  probes.labels = LABELS.get(variants, ())
  probes.tasks = TASKS.get(variants, probes.tasks)
  probes.segmentation.update(steps=600, starts=("frozen", "finetuned"))
  if variants == "yale_b":
    probes.update(identity="subject", light_angles=("light_azimuth_deg", "light_elevation_deg"))
  return ConfigDict(dict(
      question="Do physically disentangled features beat the others at the end of training?",
      methods=tuple(name for name in METHODS if name not in left_out),
      blocks=("encoder", "normalized"),  # that have columns of their own, beside all of a method
      seeds=3,             # representations of each method
      pictures=PICTURES,
      run=run,
      evaluation=probes,
  ))
