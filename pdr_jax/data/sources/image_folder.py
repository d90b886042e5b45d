"""Any folder or zip of images, with labels from a labels.csv or from one folder for each class."""

from pdr_jax.data import image_folder
from pdr_jax.data.dataset import Dataset, Source


def read(config) -> Dataset:
  """See `pdr_jax.data.image_folder.open_image_folder`."""
  return image_folder.open_image_folder(config)


SOURCE = Source(
  about="your own pictures",
  open=read,
  path="a folder or .zip of images",
  crops=True,
  split_by_label=True,
  clips=True,
)
