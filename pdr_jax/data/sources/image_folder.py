"""Any folder or zip of images, single or as clips, with labels from a table or from folders of classes."""

from pdr_jax.data import clip_folder, image_folder
from pdr_jax.data.dataset import Dataset, Source
from pdr_jax.errors import UserError


def read(config) -> Dataset:
  """See `image_folder.open_image_folder` and `clip_folder.open_clip_folder`."""
  if config.data.frames:
    return clip_folder.open_clip_folder(config)
  if config.data.options:
    raise UserError(f"data.options={config.data.options}: is for clips; data.frames=0 reads single pictures")
  return image_folder.open_image_folder(config)


SOURCE = Source(
  about="your own pictures",
  open=read,
  path="a folder or .zip of images",
  crops=True,
  split_by_label=True,
  label_kinds=True,
  clips=True,
  options=clip_folder.OPTIONS,
)
