"""Any folder of car meshes, rendered as the embedded cars are; `data.path` is the folder."""

from pdr_jax.data.dataset import Dataset, Source


def read(config) -> Dataset:
  """Rendered on first use, with exact truth. Raises UserError."""
  from pdr_jax.data import scene_source  # brings in JAX and TFDS, slow to import
  from pdr_jax.data.scenes import car_meshes

  return scene_source.open_world(config.data, car_meshes.CarMeshes)


SOURCE = Source(
  about="car meshes of a folder with exact truth",
  open=read,
  path="a folder of car meshes (npz or glb)",
)
