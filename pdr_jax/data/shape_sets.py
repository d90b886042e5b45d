"""Sets of given shapes as data: silhouettes from twelve azimuths of each, made when they are first read."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pdr_jax.data import dataset, voxel_views
from pdr_jax.data.dataset import Dataset, Split
from pdr_jax.errors import UserError

LABEL, IDENTITY = "label/kind", "label/identity"


class Shapes(NamedTuple):
  """Shapes of one split: `fine(i)` gives shape i in a cube of `FINE` times the side, `kinds` its class."""

  fine: Callable[[int], np.ndarray]
  kinds: np.ndarray


def split_of(shapes: Shapes, side: int, shaded: bool = False, first: int = 0) -> Split:
  """All views of all shapes, view `i % 12` of shape `i // 12`; their identities count from `first`."""
  count = len(shapes.kinds)
  fine = np.zeros((count, -(-((voxel_views.FINE * side) ** 3) // 8)), np.uint8)
  voxels = np.zeros((count, -(-(side**3) // 8)), np.uint8)

  def prepare(i: int) -> None:
    shape = shapes.fine(i)
    fine[i] = voxel_views.packed(shape.astype(np.uint8))
    voxels[i] = voxel_views.packed(voxel_views.coarse(shape))

  dataset.for_each(count, prepare, "preparing shapes")
  views = np.arange(count * voxel_views.AZIMUTHS)
  shape_of = views // voxel_views.AZIMUTHS
  azimuths = (views % voxel_views.AZIMUTHS) * (2 * np.pi / voxel_views.AZIMUTHS)
  see = voxel_views.shaded if shaded else voxel_views.silhouette

  def draw(i: int) -> np.ndarray:
    shape = voxel_views.unpacked(fine[shape_of[i]][None], voxel_views.FINE * side)[0].astype(bool)
    return see(shape, float(azimuths[i]))

  labels = {LABEL: shapes.kinds[shape_of].astype(np.int32), IDENTITY: (first + shape_of).astype(np.int32)}
  load = voxel_views.Views(shape_of, azimuths, voxels, draw, side, labels)
  return Split(len(views), load, in_memory=True)


def open_shapes(
  data: Any, parts: dict[str, Shapes], kinds: Sequence[str], skipped: list[tuple[str, str]], *,
  shaded: bool = False,
) -> Dataset:
  """A data set of the parts `train`, `validation` and, where there is one, `test`.

  `data.train_examples` and `data.val_examples` count shapes; 0: all. A shape's identity is that of no other
  in any part. Raises UserError.
  """
  voxel_views.check_grey(data)
  asked = {"train": data.train_examples, "validation": data.val_examples, "test": 0}
  splits, first = {}, 0
  for name, shapes in parts.items():
    chosen = shapes._replace(kinds=shapes.kinds[: asked[name] or None])
    if not len(chosen.kinds):
      raise UserError(f"data.path={data.path}: there is no shape for {name}")
    splits[name] = split_of(chosen, data.side, shaded, first)
    first += len(chosen.kinds)
  return Dataset(
    name=data.name,
    train=splits["train"],
    validation=splits["validation"],
    elements=voxel_views.elements(data.side, (LABEL, IDENTITY)),
    classes={LABEL: tuple(kinds), IDENTITY: ()},
    skipped=skipped,
    tests={"test": splits["test"]} if "test" in splits else {},
  )


def held_out(count: int, asked: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Shuffled indices of shapes to train on and of those for validation: `asked`, or 0 for a tenth."""
  order = np.random.default_rng(seed).permutation(count)
  size = min(asked or max(1, count // 10), count - 1)
  return order[size:], order[:size]
