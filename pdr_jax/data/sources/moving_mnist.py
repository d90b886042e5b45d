"""Moving MNIST, or whatever else comes in MNIST's files, such as Fashion-MNIST."""

from pdr_jax.data import digits, moving_digits
from pdr_jax.data.dataset import Dataset, Source


def read(config) -> Dataset:
  """Drawn as it is read, see `data.moving_digits`. Raises `UserError` for a folder without the files."""
  return moving_digits.open_digits(config.data)


SOURCE = Source(
  about="pictures of MNIST's files that move and bounce, with exact labels and places",
  open=read,
  path=digits.LAYOUT,
  clips=True,
  any_length=True,
  options=moving_digits.OPTIONS,
)
