"""A U-Net over one or more of a method's map encoders: their stages are its contracting half, the expanding half is its own."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pdr_jax.networks.autoencoder import MapEncoder, stage_widths
from pdr_jax.networks.layers import Conv, GroupNorm

Stages = list[Float[Array, "B h w C"]]


def map_encoders(params: dict) -> dict[str, dict]:
  """The parameters of a method's map encoders by block: PDR's depth and albedo, or a baseline's one encoder."""
  if "encoder" in params:
    return {"encoder": params["encoder"]}
  return {name: params[name]["encoder"] for name in ("depth", "albedo") if "encoder" in params.get(name, {})}


def encoder_of(params: dict, side: int) -> MapEncoder:
  """The network that these parameters belong to."""
  return MapEncoder(params["down0"]["kernel"].shape[-1], params["bottleneck"]["kernel"].shape[-1], side)


def stages(encoder: MapEncoder, params: dict, images: Float[Array, "B S S 3"]) -> tuple[Stages, Float[Array, "B zdim"]]:
  """What an encoder holds at sides S/2, S/4 ... 4, after its activation, and the bottleneck."""
  z, kept = encoder.apply({"params": params}, images, capture_intermediates=True, mutable="intermediates")
  kept = kept["intermediates"]
  count = len(stage_widths(encoder.width, encoder.side))
  names = [f"down{i}_norm" if i < count - 1 else f"down{i}" for i in range(count)]
  return [nn.leaky_relu(kept[name]["__call__"][0], 0.2) for name in names], z


class Expanding(nn.Module):
  """From the bottleneck up, with the encoders' stages joined in at each side (Ronneberger et al. 2015), to one logit a class and pixel."""
  classes: int
  width: int
  side: int

  @nn.compact
  def __call__(self, skips: Sequence[Stages], z: Float[Array, "B D"]) -> Float[Array, "B S S classes"]:
    def block(x, name, features, kind, size):
      return nn.relu(GroupNorm(name=f"{name}_norm")(Conv(features, kind, size, name=name)(x)))

    widths = stage_widths(self.width, self.side)
    x = nn.relu(Conv(widths[-1], "from_point", name="expand")(z))
    for i in reversed(range(len(widths))):
      x = jnp.concatenate([x, *(one[i] for one in skips)], axis=-1)
      x = block(x, f"join{i}", widths[i], "same", 3)
      x = block(x, f"up{i}", widths[max(i - 1, 0)], "up", 4)
    return Conv(self.classes, "same", 3, name="head")(x)


def init(rng: Array, encoders: dict[str, dict], classes: int, side: int, *, fresh: bool) -> dict:
  """Parameters `{"encoders": {name: ...}, "expanding": ...}`: the given encoders, or `fresh` ones of the same shapes."""
  images, net = jnp.zeros((1, side, side, 3)), expanding_of(encoders, classes, side)
  if fresh:
    encoders = {name: encoder_of(params, side).init(jax.random.fold_in(rng, i + 1), images)["params"]
                for i, (name, params) in enumerate(sorted(encoders.items()))}
  return {"encoders": encoders, "expanding": net.init(jax.random.fold_in(rng, 0), *_contract(encoders, images, side))["params"]}


def apply(params: dict, images: Float[Array, "B S S 3"], classes: int, *, frozen: bool = False) -> Float[Array, "B S S classes"]:
  """Logits. `frozen` stops gradients at the encoders."""
  side, encoders = images.shape[1], params["encoders"]
  if frozen:
    encoders = jax.lax.stop_gradient(encoders)
  return expanding_of(encoders, classes, side).apply({"params": params["expanding"]}, *_contract(encoders, images, side))


def expanding_of(encoders: dict[str, dict], classes: int, side: int) -> Expanding:
  """The expanding half, as wide as the first encoder."""
  first = encoders[min(encoders)]
  return Expanding(classes, first["down0"]["kernel"].shape[-1], side)


def _contract(encoders: dict[str, dict], images: Array, side: int) -> tuple[list[Stages], Array]:
  found = [stages(encoder_of(params, side), params, images) for _, params in sorted(encoders.items())]
  return [skips for skips, _ in found], jnp.concatenate([z for _, z in found], axis=-1)
