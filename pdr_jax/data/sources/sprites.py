"""Sprites (Li and Mandt 2018): characters that walk, cast and slash, composed from sheets."""

from pdr_jax.data.dataset import Dataset, Source


def read(config) -> Dataset:
  """See `data.sprites`. Raises `UserError`."""
  from pdr_jax.data import sprites

  return sprites.open_sprites(config.data)


SOURCE = Source(
  about="Sprites: 1,296 characters and nine motions, with exact labels",
  open=read,
  path="the folder with body/, bottomwear/, topwear/, hair/ and shoes/ of LPC sprite sheets",
  clips=True,
  licence="trained on sprites of the Liberated Pixel Cup (CC BY-SA 3.0, GPL 3.0)",
)
