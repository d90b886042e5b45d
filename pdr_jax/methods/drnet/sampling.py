"""Which frames of a clip a step looks at (specification, section 2.3).

Every clip draws its own, by its place in the global batch, so that the draws do not depend on the number of
devices.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int
from ml_collections import ConfigDict

SAMPLINGS = ("any", "first")


class Frames(NamedTuple):
  """Numbers of the frames of each clip.

  Attributes:
    content: the frame whose content is decoded.
    similar: the frame whose content that should resemble.
    target: the frame whose pose is decoded, and that is to come out.
    partner: the frame whose pose the discriminator sees beside that of the target.
    pair: two more, for the discriminator's own step where it does not see target and partner.
  """

  content: Int[Array, " B"]
  similar: Int[Array, " B"]
  target: Int[Array, " B"]
  partner: Int[Array, " B"]
  pair: tuple[Int[Array, " B"], Int[Array, " B"]]


def draw(rng: Array, index: Int[ArrayLike, " B"], config: ConfigDict) -> Frames:
  """The frames of the clips at these places of the global batch.

  `any`: all of them anywhere in the clip. `first`: the content is that of the first frame; the target is
  `min_offset` to `max_offset` frames later, and so is the frame of the same content.
  """
  frames, drnet = config.data.frames, config.drnet
  count = len(Frames._fields) + 1
  keys = jax.vmap(lambda i: jax.random.fold_in(rng, i))(index)
  anywhere = jax.vmap(lambda key: jax.random.randint(key, (count,), 0, frames))(keys)
  content, similar, target, partner, first, second = anywhere.T
  if drnet.sampling == "first":
    content = jnp.zeros_like(content)
    last = drnet.max_offset or frames - 1
    offsets = jax.vmap(lambda key: jax.random.randint(key, (), drnet.min_offset, last + 1))
    target = similar = offsets(jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys))
  return Frames(content, similar, target, partner, (first, second))


def take(clips: Float[ArrayLike, "B T S S C"], frames: Int[ArrayLike, " B"]) -> Float[Array, "B S S C"]:
  """One frame of each clip."""
  return jnp.take_along_axis(clips, frames.reshape(-1, 1, 1, 1, 1), axis=1)[:, 0]
