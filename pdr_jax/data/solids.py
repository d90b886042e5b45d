"""The embedded solids as a data set: one view of every shape, drawn at the start, read from nowhere."""

import numpy as np

from pdr_jax.data import dataset, solid_shapes, voxel_views
from pdr_jax.data.dataset import Dataset, Split
from pdr_jax.errors import UserError

SPLITS = ("train", "validation", "test")
LABEL = "label/kind"


def open_solids(config, *, shaded: bool) -> Dataset:
  """Shapes of all kinds from even azimuths; `shaded` ones are seen from above the horizon. Raises UserError.
  """
  data = config.data
  voxel_views.check_grey(data)
  for key in ("train_examples", "val_examples"):
    if data[key] < 1:
      raise UserError(f"data.{key}={data[key]}: an embedded world needs at least 1 (it is drawn)")
  sizes = dict(zip(SPLITS, (data.train_examples, data.val_examples, data.val_examples), strict=True))
  splits = {name: draw(name, size, data.side, data.scene_seed, shaded) for name, size in sizes.items()}
  return Dataset(
    name=data.name,
    train=splits["train"],
    validation=splits["validation"],
    elements=voxel_views.elements(data.side, (LABEL,)),
    classes={LABEL: solid_shapes.KINDS},
    skipped=[],
    tests={"test": splits["test"]},
  )


def draw(split: str, size: int, side: int, seed: int, shaded: bool) -> Split:
  """So many shapes, each with its own stream, and a view of each."""
  kind, azimuth = np.zeros(size, np.int32), np.zeros(size, np.float32)
  images = np.zeros((size, side, side, 1), np.uint8)
  voxels = np.zeros((size, -(-(side**3) // 8)), np.uint8)

  def make(i: int) -> None:
    rng = np.random.default_rng([seed, SPLITS.index(split), i])
    kind[i], azimuth[i] = rng.integers(len(solid_shapes.KINDS)), rng.uniform(0, 2 * np.pi)
    shape = solid_shapes.draw(rng, int(kind[i]), voxel_views.FINE * side)
    see = voxel_views.shaded if shaded else voxel_views.silhouette
    images[i], voxels[i] = see(shape, float(azimuth[i])), voxel_views.packed(voxel_views.coarse(shape))

  dataset.for_each(size, make, f"drawing {split}")
  views = voxel_views.Views(np.arange(size), azimuth, voxels, images.__getitem__, side, {LABEL: kind})
  return Split(size, views, in_memory=True)
