"""KTH's videos as published: six actions of 25 persons."""

from pdr_jax.data.dataset import Dataset, Source


def read(config) -> Dataset:
  """See `data.kth`. Raises `UserError`."""
  from pdr_jax.data import kth

  return kth.open_kth(config.data)


SOURCE = Source(
  about="clips of KTH: walking, running and four other actions of 25 persons",
  open=read,
  path="the folder with 00sequences.txt and the videos, such as walking/person01_walking_d1_uncomp.avi",
  clips=True,
  licence="trained on KTH, whose terms are not stated",
)
