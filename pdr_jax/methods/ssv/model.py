"""SSV's networks by configuration, and what is drawn for a step."""

import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int
from ml_collections import ConfigDict

from pdr_jax.losses import angles
from pdr_jax.networks import alexnet
from pdr_jax.networks import features as feature_networks
from pdr_jax.networks.ssv import ANGLES, Seen, Synthesis, Viewpoint, hidden_size

KEY = "ssv.feature_weights"  # of the configuration
NETWORKS = ("viewpoint", "synthesis")
Features = Callable[[Array], Array]  # pictures [B, S, S, C] to what compares them [B, ...]


class Drawn(NamedTuple):
  """What a picture is made of: codes uniform in (-1, 1), and angles in radians."""

  codes: Float[Array, "B N"]
  angles: Float[Array, "B 3"]


def networks(config: ConfigDict, axis_name: str | None = None) -> dict[str, Any]:
  """The two networks by name."""
  ssv, data = config.ssv, config.data
  return {
    "viewpoint": Viewpoint(ssv.width_viewpoint, 2 * ssv.code, axis_name),
    "synthesis": Synthesis(
      ssv.width_synthesis, data.side, data.channels, ssv.volume_side, ssv.nearest,
      ssv.volume_rendering, ssv.mapping_layers,
    ),
  }


def init(rng: Array, config: ConfigDict) -> dict[str, Any]:
  """Fresh parameters; each network draws from its own stream."""
  side, channels = config.data.side, config.data.channels
  inputs = {
    "viewpoint": (jnp.zeros((1, side, side, channels)),),
    "synthesis": (jnp.zeros((1, 2 * config.ssv.code)), jnp.zeros((1, 3))),
  }
  return {
    name: net.init(jax.random.fold_in(rng, i), *inputs[name])["params"]
    for i, (name, net) in enumerate(networks(config).items())
  }


def synthesize(
  params: dict, codes: Float[ArrayLike, "B N"], view: Float[ArrayLike, "P 3"], config: ConfigDict,
  groups: tuple[int, ...] = (0,),
) -> Float[Array, "P S S C"]:
  """Pictures of codes and angles (radians); `params` are those of the synthesis network.

  `groups` says which codes each group of pictures is made of; see `networks.ssv.Synthesis`.
  """
  return _apply(partial(networks(config)["synthesis"].apply, groups=groups), config, params, codes, view)


def see(
  params: dict, images: Float[ArrayLike, "B S S C"], config: ConfigDict, axis_name: str | None = None,
  deviation: Float[ArrayLike, ""] | None = None, dropout: Float[ArrayLike, "B 3 H"] | None = None,
) -> Seen:
  """What the viewpoint network of these parameters sees; see `networks.ssv.Viewpoint`."""
  return _apply(networks(config, axis_name)["viewpoint"].apply, config, params, images, deviation, dropout)


def _apply(apply: Callable[..., Any], config: ConfigDict, params: dict, *inputs: Any) -> Any:
  def run(params, *inputs):
    return apply({"params": params}, *inputs)

  return (jax.checkpoint(run) if config.train.remat else run)(params, *inputs)


def likeliest_view(seen: Seen) -> Float[Array, "B 3"]:
  """Azimuth, elevation and tilt in their likeliest quadrants, radians: what the steps work with."""
  return angles.decode(seen.magnitudes, seen.quadrants)


def view_of(seen: Seen) -> Float[Array, "B 3"]:
  """Azimuth, elevation and tilt, radians, as a trained network says them: the mean directions.

  The released code takes the likeliest quadrant. Where a head looks nearly ahead its sign is a guess, and the
  angle is then wrong by twice its size; see docs/results/viewpoint.md for what that costs.
  """
  return angles.mean_direction(seen.magnitudes, seen.quadrants)


# ---------------------------------------------------------------- draws


def ranges(config: ConfigDict) -> Float[Array, " 3"]:
  """How far angles are drawn to both sides, radians."""
  return jnp.array([math.radians(config.ssv[name]) for name in ANGLES])


def draw(rng: Array, index: Int[ArrayLike, " B"], config: ConfigDict) -> Drawn:
  """For these places of the global batch; each has a stream of its own."""

  def of_picture(i):
    code, view = jax.random.split(jax.random.fold_in(rng, i))
    codes = jax.random.uniform(code, (2 * config.ssv.code,), minval=-1.0, maxval=1.0)
    return Drawn(codes, jax.random.uniform(view, (3,), minval=-1.0, maxval=1.0) * ranges(config))

  return jax.vmap(of_picture)(index)


def draw_dropout(rng: Array, index: Int[ArrayLike, " B"], config: ConfigDict) -> Float[Array, "B 3 H"]:
  """Factors of the angles' hidden layers: 0, or the reciprocal of the share that stays."""
  stays, shape = 1 - config.ssv.dropout, (3, hidden_size(config.ssv.width_viewpoint))
  keys = jax.vmap(lambda i: jax.random.fold_in(rng, i))(index)
  return jax.vmap(lambda key: jax.random.bernoulli(key, stays, shape))(keys) / stays


def draw_mix(rng: Array, index: Int[ArrayLike, " B"]) -> Float[Array, " B"]:
  """The share of the real picture in what the gradient penalty looks at."""
  return jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(rng, i)))(index)


def draw_shade(rng: Array, index: Int[ArrayLike, " B"], config: ConfigDict) -> Float[Array, "B 2"]:
  """How the logarithm of a picture's brightness changes from its middle to its right and to its lower rim."""
  keys = jax.vmap(lambda i: jax.random.fold_in(rng, i))(index)
  return config.ssv.shade * jax.vmap(lambda key: jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0))(keys)


def shaded(
  images: Float[ArrayLike, "B S S C"], shade: Float[ArrayLike, "B 2"] | None
) -> Float[Array, "B S S C"]:
  """Pictures in [-1, 1], black being -1, with their brightness changed as `draw_shade` says; None: unchanged.

  Applied to everything that a critic sees, real or made, it leaves unchanged what the generator has to make
  (Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training", arXiv 2006.10738).
  """
  if shade is None:
    return jnp.asarray(images)
  place = jnp.linspace(-1.0, 1.0, images.shape[1])
  along, down = (shade[:, i, None, None] for i in range(2))
  gain = jnp.exp(along * place[None, None, :] + down * place[None, :, None])
  return (images + 1) * gain[..., None] - 1


# ---------------------------------------------------------------- features


def fixed_features(config: ConfigDict) -> Features | None:
  """The network that compares pictures; None: the viewpoint network's own map.

  A file is read when it is first needed."""
  ssv = config.ssv
  if ssv.features == "own":
    return None
  if ssv.features == "random":
    parameters = functools.cache(partial(feature_networks.random_features_init, 0))
    return lambda images: feature_networks.random_features(parameters(), images)
  if ssv.features == "vgg16":
    weights = functools.cache(partial(feature_networks.load_vgg16, ssv.feature_weights, KEY))
    return lambda images: feature_networks.vgg16_relu3_3(weights(), images)
  layers = functools.cache(partial(alexnet.load, ssv.feature_weights, KEY))
  return lambda images: alexnet.second_convolution(layers(), images)


def own_features(params: dict, images: Float[ArrayLike, "B S S C"], config: ConfigDict) -> Array:
  """The first map of the viewpoint network, whose parameters get no gradient."""
  return see(jax.lax.stop_gradient(params), images, config, deviation=jnp.zeros(())).maps[0]
