"""Small NORB as published: toys that turn, with category, elevation, lighting and azimuth."""

from pdr_jax.data.dataset import Dataset, Source


def read(config) -> Dataset:
  """See `data.small_norb`. Raises `UserError`."""
  from pdr_jax.data import small_norb

  return small_norb.open_norb(config.data)


SOURCE = Source(
  about="clips of small NORB: fifty toys that turn, of five categories",
  open=read,
  path="the folder with smallnorb-5x46789x9x18x6x2x96x96-training-dat.mat and its five companions (or .gz)",
  clips=True,
  licence="trained on small NORB, which is free for research only",
)
