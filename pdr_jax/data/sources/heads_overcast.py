"""Embedded heads in light from everywhere; nothing is read from disk."""

from pdr_jax.data.dataset import Dataset, Source
from pdr_jax.data.sources import heads


def read(config) -> Dataset:
  """Rendered on first use, with exact truth. Raises UserError."""
  from pdr_jax.data import scene_source  # brings in JAX and TFDS, slow to import
  from pdr_jax.data.scenes import heads_overcast

  return scene_source.open_world(config.data, heads_overcast.HeadsOvercast)


SOURCE = Source(
  about="embedded heads under an overcast sky, with exact truth",
  open=read,
  landmarks=heads.landmarks,
  licence="trained on pictures that the package draws itself: no third party's data is involved",
)
