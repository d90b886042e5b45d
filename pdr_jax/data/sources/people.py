"""Embedded people: heads with identity, expression, attributes and parts; nothing is read from disk."""

from pdr_jax.data.dataset import Dataset, Source


def read(config) -> Dataset:
  """Rendered on first use, with exact truth. Raises UserError."""
  from pdr_jax.data import scene_source  # brings in JAX and TFDS, slow to import
  from pdr_jax.data.scenes import people

  return scene_source.open_world(config.data, people.People)


def landmarks(weights, view, side: int):
  """See `pdr_jax.data.scenes.landmarks.locate`."""
  from pdr_jax.data.scenes import landmarks as places  # brings in JAX, slow to import
  from pdr_jax.data.scenes import people

  return places.locate(people.shape_model(), weights, view, side)


SOURCE = Source(
  about="embedded people with exact truth, parts and test splits",
  open=read,
  clips=True,
  landmarks=landmarks,
  licence="trained on pictures that the package draws itself: no third party's data is involved",
)
