"""Embedded people and faces of the ICT Face Model as one set, half of every batch each.

`label/set` says which of the two a picture shows; other labels, and what the two shape models do not share,
are left behind.
"""

from pdr_jax.data.dataset import Dataset, Source
from pdr_jax.data.sources import ict_faces, people
from pdr_jax.errors import UserError

MEMBERS = {"people": people, "ict_faces": ict_faces}
KEYS = ("image", "albedo", "normal", "depth", "light", "view", "mask")


def read(config) -> Dataset:
  """Both worlds, rendered on first use, with exact truth. Raises UserError."""
  from pdr_jax.data.joined import LABEL, join
  from pdr_jax.elements import Element

  for key in ("train_examples", "val_examples"):
    if config.data[key] < len(MEMBERS):
      told = f"data.{key}={config.data[key]}: data.name={config.data.name} joins {len(MEMBERS)} worlds"
      raise UserError(f"{told} and needs at least {len(MEMBERS)}")
  worlds = [_half(config, name, rest) for rest, name in enumerate(MEMBERS)]
  first = worlds[0]
  return Dataset(
    name=config.data.name,
    train=join([world.train for world in worlds], KEYS, (1, 1)),
    validation=join([world.validation for world in worlds], KEYS),
    elements={key: first.elements[key] for key in KEYS} | {LABEL: Element((), "int32", "label")},
    classes={LABEL: tuple(MEMBERS)},
    skipped=[],
    note=next((world.note for world in worlds if world.note), ""),
    fingerprint="".join(world.fingerprint for world in worlds),
  )


def _half(config, name: str, rest: int) -> Dataset:
  """One of the two worlds, with half of the examples; the first one has the odd one."""
  copy = config.copy_and_resolve_references()
  copy.data.name = name
  for key in ("train_examples", "val_examples"):
    copy.data[key] = (config.data[key] + 1 - rest) // 2
  return MEMBERS[name].read(copy)


SOURCE = Source(
  about="embedded people and faces of the ICT Face Model, half of each, with exact truth",
  open=read,
  path=ict_faces.SOURCE.path,
  licence="trained on pictures that the package draws itself, half of them renderings of the ICT Face Model"
  " Light, which is under the MIT licence",
)
