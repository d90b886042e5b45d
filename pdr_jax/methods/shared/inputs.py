"""What methods ask of the pictures of a batch, and rules of keys that several methods have."""

from ml_collections import ConfigDict

from pdr_jax.elements import Element
from pdr_jax.errors import UserError
from pdr_jax.networks.autoencoder import SIDES
from pdr_jax.rules import Rule

# GroupNorm takes width / 4 groups, so that each group has at least four channels.
WIDTH = Rule(lambda value: value > 0 and value % 4 == 0, "a positive multiple of 4")


def image(config: ConfigDict) -> Element:
  """Single pictures `[S, S, C]` in [-1, 1]."""
  side, channels = config.data.side, config.data.channels
  return Element((side, side, channels), "float32", "image", (-1.0, 1.0))


def check_images(
  config: ConfigDict, *, channels: tuple[int, ...] = (3,), sides: tuple[int, ...] = SIDES
) -> None:
  """Raises `UserError` unless the data are single pictures of a side and channels that the method takes."""
  data, name = config.data, config.method
  if data.frames:
    raise UserError(
      f"config.data.frames = {data.frames}: config.method={name} takes single pictures, which are 0 frames"
    )
  if data.channels not in channels:
    words = " or ".join(map(str, channels))
    raise UserError(
      f"config.data.channels = {data.channels}: config.method={name} takes pictures of {words} channels"
    )
  if data.side not in sides:
    raise UserError(
      f"config.data.side = {data.side}: must be one of {', '.join(map(str, sides))} for config.method={name}"
    )
