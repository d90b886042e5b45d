"""Any folder or zip of images, single or as clips, with labels from a table or from folders of classes."""

from pdr_jax.data import clip_folder, image_folder
from pdr_jax.data.dataset import Dataset, Source


def read(config) -> Dataset:
  """See `image_folder.open_image_folder` and `clip_folder.open_clip_folder`."""
  opened = clip_folder.open_clip_folder if config.data.frames else image_folder.open_image_folder
  return opened(config)


SOURCE = Source(
  about="your own pictures",
  open=read,
  path="a folder or .zip of images",
  crops=True,
  split_by_label=True,
  label_kinds=True,
  clips=True,
)
