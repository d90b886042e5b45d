"""Faces of the ICT Face Model, rendered with procedural paint; `data.path` is the model."""

from pdr_jax.data.dataset import Dataset, Source


def read(config) -> Dataset:
  """Rendered on first use, with exact truth. Raises UserError."""
  from pdr_jax.data import scene_source  # brings in JAX and TFDS, slow to import
  from pdr_jax.data.scenes import ict_faces

  return scene_source.open_world(config.data, ict_faces.IctFaces)


SOURCE = Source(
  about="faces of the ICT Face Model with exact truth",
  open=read,
  path="the folder of the ICT Face Model (ICT-FaceKit), or a packed .npz of it",
  clips=True,
  licence="trained on renderings of the ICT Face Model Light, which is under the MIT licence",
)
