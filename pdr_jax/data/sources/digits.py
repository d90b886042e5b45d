"""scikit-learn's handwritten digits, which come with it: nothing is read from disk."""

from pdr_jax.data import glyph_sets
from pdr_jax.data.dataset import Source

SOURCE = Source(
  about="scikit-learn's handwritten digits",
  open=glyph_sets.embedded,
  licence="trained on the digits of UCI's Optical Recognition of Handwritten Digits (CC BY 4.0)",
)
