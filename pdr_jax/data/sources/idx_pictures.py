"""MNIST, Fashion-MNIST, or other pictures in idx files of their names."""

from pdr_jax.data import digits, glyph_sets
from pdr_jax.data.dataset import Source

SOURCE = Source(
  about="MNIST, Fashion-MNIST or others in idx files", open=glyph_sets.of_folder, path=digits.LAYOUT
)
