"""Digits that move and bounce, with exact truth: the handwritten ones that scikit-learn brings."""

from pdr_jax.data import moving_digits
from pdr_jax.data.dataset import Dataset, Source


def read(config) -> Dataset:
  """Drawn as it is read, see `data.moving_digits`."""
  return moving_digits.open_digits(config.data)


SOURCE = Source(
  about="digits that move and bounce, with exact labels and places",
  open=read,
  clips=True,
  any_length=True,
  options=moving_digits.OPTIONS,
  licence="trained on digits that scikit-learn brings (UCI, Alpaydin and Kaynak 1998, CC BY 4.0)",
)
