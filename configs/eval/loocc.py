r"""Why LOOCC costs accuracy: one choice changed at a time, tested outside the training light and view.

    python -m pdr_jax.study --config configs/eval/loocc.py --workdir runs/loocc_people
    python -m pdr_jax.study --config configs/eval/loocc.py:cars --workdir runs/loocc_cars

Variants: none for the embedded people, `cars` for the embedded cars. Budgets are fixed: every run takes all
its steps. `CHANGES` says what each variant of the method is for; `pdr:unsup3d` has LOOCC off, `pdr` on. The
same command again continues.
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant
from pdr_jax.evaluation.config import get_config as evaluation

DATA = {"": "people", "cars": "embedded_cars"}
CHANGES = {
    "cold": dict(loocc=dict(temperature=0.1)),  # only the nearest negatives count
    "warm": dict(loocc=dict(temperature=2.0)),  # all negatives count alike
    "batch_128": dict(train=dict(batch_size=128)),  # more negatives, and a quarter of the steps
    "raw": dict(loocc=dict(features="raw")),  # blocks keep their scale
    "small_steps": dict(loocc=dict(light_angle=8.0, ambient=0.2, pitch=4.0, yaw=8.0)),  # nearer to the data
    "swaps": dict(loocc=dict(factors=("light", "view", "albedo", "depth"))),  # shape, colour too
    "stopped": dict(loocc=dict(stop_gradient=True)),  # the re-render is no lever
    "weak": dict(loocc=dict(weight=0.01)),
}


def get_config(variants: str = "") -> ConfigDict:
  if variants not in DATA:
    raise ValueError(f"unknown study {variants!r}; choose cars, or none for the embedded people")
  scene = "cars,small,plain" if variants else "shallow,small"
  run, probes = variant(base(), scene), evaluation()
  run.data.update(name=DATA[variants], train_examples=4_000, val_examples=600)
  run.optim.update(learning_rate=1e-3, schedule="cosine")
  run.train.update(batch_size=32, probe_examples=300)
  run.train.update(validate_every=500, checkpoint_every=500, figure_every=0, gradient_norms_every=0)
  probes.batch_size = 32
  probes.tasks = ("linear", "factors", "robustness")
  return ConfigDict(dict(
      question="What makes LOOCC cost accuracy under unseen light and view?",
      methods=("pdr:unsup3d", "pdr", *(f"pdr:{name}" for name in CHANGES)),
      changes=CHANGES,
      blocks=("encoder",),  # what LOOCC shapes; all features hold the normalised pictures too
      seeds=3,             # representations of each method
      pictures=64_000,     # that each method sees
      run=run,
      evaluation=probes,
  ))
