"""A U-Net over a method's feature maps: they are its contracting half, the expanding half is its own."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pdr_jax.errors import UserError
from pdr_jax.methods import Method
from pdr_jax.networks.layers import Conv, GroupNorm

GROUP = 4  # channels of a normalisation group: widths are multiples of it
Maps = Sequence[Array]  # of one encoder: [B,h,w,C] from fine to coarse, then the bottleneck [B,D]
Images = Float[Array | np.ndarray, "B S S C"]


def encoders(method: Method | None, variables: dict | None, images: Images) -> list[str]:
  """Names of a method's encoders that give maps, in alphabetical order; empty where there are none."""
  if method is None or method.feature_maps is None:
    return []
  maps = jax.eval_shape(method.feature_maps, variables, images)
  return sorted(name for name, levels in maps.items() if len(levels) > 1)


class Expanding(nn.Module):
  """From the bottleneck up, with the encoders' maps joined in at each side (Ronneberger et al. 2015).

  Gives one logit a class and pixel. It is as wide at each side as the first encoder that has a map there.
  """

  classes: int
  side: int

  @nn.compact
  def __call__(self, maps: Sequence[Maps]) -> Float[Array, "B S S classes"]:
    skips = _by_side(maps)
    sides = sorted(skips, reverse=True)  # from fine to coarse
    widths = [-(-skips[side][0].shape[-1] // GROUP) * GROUP for side in sides]
    bottleneck = jnp.concatenate([levels[-1].reshape(levels[-1].shape[0], -1) for levels in maps], axis=-1)
    x = nn.relu(Conv(widths[-1], "from_point", sides[-1], name="expand")(bottleneck))
    for i in reversed(range(len(sides))):
      x = jnp.concatenate([x, *skips[sides[i]]], axis=-1)
      x = _normalized(x, f"join{i}", widths[i])
      x = _enlarged(x, f"up{i}", widths[max(i - 1, 0)], sides[i - 1] if i else self.side)
    return Conv(self.classes, "same", 3, name="head")(x)


def _by_side(maps: Sequence[Maps]) -> dict[int, list[Array]]:
  """All encoders' maps by their side, the first encoder's first."""
  sides: dict[int, list[Array]] = {}
  for levels in maps:
    for level in levels[:-1]:
      if level.shape[1] != level.shape[2]:
        raise UserError(f"a U-Net needs square maps, and the method gives one of {level.shape[1:3]}")
      sides.setdefault(level.shape[1], []).append(level)
  return sides


def _normalized(x: Array, name: str, width: int, kind: str = "same", size: int = 3) -> Array:
  """A convolution, group normalisation and ReLU; to be called inside a compact module."""
  return nn.relu(GroupNorm(name=f"{name}_norm")(Conv(width, kind, size, name=name)(x)))


def _enlarged(x: Array, name: str, width: int, side: int) -> Array:
  """The same at another side, twice as large where maps halve."""
  if side == 2 * x.shape[1]:
    return _normalized(x, name, width, "up", 4)
  x = jax.image.resize(x, (x.shape[0], side, side, x.shape[-1]), "nearest")
  return _normalized(x, name, width)


def init(
    rng: Array, method: Method, variables: dict, chosen: Sequence[str], classes: int, images: Images
) -> dict:
  """Parameters `{"encoders": variables, "expanding": ...}`, the second fresh."""
  net = Expanding(classes, images.shape[1])
  maps = _maps(method, variables, chosen, images)
  return {"encoders": variables, "expanding": net.init(jax.random.fold_in(rng, 0), maps)["params"]}


def apply(
    params: dict, method: Method, chosen: Sequence[str], images: Images, classes: int, *, frozen: bool = False
) -> Float[Array, "B S S {classes}"]:
  """Logits. `frozen` stops gradients at the encoders."""
  variables = params["encoders"]
  if frozen:
    variables = jax.lax.stop_gradient(variables)
  maps = _maps(method, variables, chosen, images)
  return Expanding(classes, images.shape[1]).apply({"params": params["expanding"]}, maps)


def _maps(method: Method, variables: dict, chosen: Sequence[str], images: Images) -> list[Maps]:
  maps = method.feature_maps(variables, images)
  return [maps[name] for name in chosen]
