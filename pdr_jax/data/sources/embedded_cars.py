"""Embedded cars: parametric, seen from above in front; nothing is read from disk."""

from pdr_jax.data.dataset import Dataset, Source


def read(config) -> Dataset:
  """Rendered on first use, with exact truth. Raises UserError."""
  from pdr_jax.data import scene_source  # brings in JAX and TFDS, slow to import
  from pdr_jax.data.scenes import cars

  return scene_source.open_world(config.data, cars.EmbeddedCars)


SOURCE = Source(
  about="embedded cars with exact truth, parts and test splits",
  open=read,
  clips=True,
  licence="trained on pictures that the package draws itself: no third party's data is involved",
)
