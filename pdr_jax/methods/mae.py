"""A small masked autoencoder (He et al. 2022, arXiv 2111.06377).

Most patches of a picture are hidden at random. A transformer encodes the others, a lighter one decodes all,
and the loss is the squared error of the hidden patches alone: `mean over hidden patches of |predicted -
target|^2 / P`, where the target is the patch, with `mae.normalize` less its mean and over its deviation.
There is no class token.

The representation is the mean of the encoder's outputs on the whole picture. They have as many numbers as
other methods' representations, by a last layer with a ReLU whose width does not depend on the transformer's:
the transformer itself stays about as large as their encoder. Optimiser, steps and batch are those of the
other methods.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int
from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.losses import patches as losses
from pdr_jax.losses.reduce import masked_mean
from pdr_jax.methods.contract import Description, Method, TrainState, inference_variables
from pdr_jax.methods.shared import baseline, gradient_step, inputs, optimizer
from pdr_jax.networks.vit import PatchDecoder, PatchEncoder, to_images, to_patches
from pdr_jax.rules import ANYTHING, Rule, at_least


def create(config: ConfigDict) -> Method:
  """The method `mae`."""
  nets = gradient_step.recomputed(networks(config), config)
  tx = optimizer.create(config)
  words = dict(nets=nets, config=config)
  return Method(
      init=partial(init, tx=tx, **words),
      validate=partial(validate, **words),
      **gradient_step.of_terms(partial(loss_terms, **words), WEIGHTS, tx=tx, config=config),
      encode=partial(encode, **words),
      feature_maps=partial(feature_maps, **words),
      pictures=partial(pictures, **words),
  )


def networks(config: ConfigDict) -> dict[str, nn.Module]:
  """`encoder` of visible patches, and `decoder` of their vectors to the pixels of all patches."""
  mae, dtype = config.mae, jnp.dtype(config.networks.dtype)
  grid, pixels = config.data.side // mae.patch, mae.patch**2 * config.data.channels
  size = baseline.representation_size(config)
  return {
    "encoder": PatchEncoder(size, mae.width, mae.depth, mae.heads, grid, dtype),
    "decoder": PatchDecoder(pixels, mae.decoder_width, mae.decoder_depth, mae.decoder_heads, grid, dtype),
  }


def init(
  rng: Array, batch: dict, *, nets: dict, tx: optax.GradientTransformation, config: ConfigDict
) -> TrainState:
  """Fresh parameters; each network draws from its own stream."""
  patches = to_patches(jnp.zeros((1, *batch["image"].shape[1:])), config.mae.patch)
  order = everywhere(patches)
  params = {"encoder": nets["encoder"].init(jax.random.fold_in(rng, 0), patches, order)["params"]}
  vectors = jnp.zeros((1, visible_count(config), baseline.representation_size(config)))
  params["decoder"] = nets["decoder"].init(jax.random.fold_in(rng, 1), vectors, order)["params"]
  return gradient_step.init(params, tx, config)


def everywhere(patches: Float[ArrayLike, "B N P"]) -> Int[Array, "B N"]:
  """The places of all patches, in order."""
  return jnp.broadcast_to(jnp.arange(patches.shape[1])[None], patches.shape[:2])


def encode(
  params: dict, images: Float[ArrayLike, "B S S C"], *, nets: dict, config: ConfigDict
) -> dict[str, Float[Array, "B D"]]:
  """`backbone`: the mean of the outputs for all patches of the picture, non-negative."""
  patches = to_patches(images, config.mae.patch)
  vectors = nets["encoder"].apply({"params": params["encoder"]}, patches, everywhere(patches))
  return {"backbone": vectors.astype(jnp.float32).mean(axis=1)}


def feature_maps(
  params: dict, images: Float[ArrayLike, "B S S C"], *, nets: dict, config: ConfigDict
) -> dict[str, list[Float[Array, "B ..."]]]:
  """The transformer's outputs as a map of the patches, and the representation; float32."""
  patches = to_patches(images, config.mae.patch)
  places, grid = everywhere(patches), config.data.side // config.mae.patch
  tokens = nets["encoder"].apply({"params": params["encoder"]}, patches, places, method="tokens")
  level = tokens.astype(jnp.float32).reshape(tokens.shape[0], grid, grid, -1)
  return {"encoder": [level, encode(params, images, nets=nets, config=config)["backbone"]]}


# ---------------------------------------------------------------- masks


def visible_count(config: ConfigDict) -> int:
  """How many patches of a picture are shown: those that `mae.mask` leaves, at least one."""
  count = (config.data.side // config.mae.patch) ** 2
  return max(1, count - round(count * config.mae.mask))


def orders(rng: Array, index: Int[ArrayLike, " B"], count: int) -> Int[Array, "B {count}"]:
  """A random order of the patches of each picture, drawn by its place in the global batch."""
  return jax.vmap(lambda i: jax.random.permutation(jax.random.fold_in(rng, i), count))(index)


def predict(
  params: dict, patches: Float[ArrayLike, "B N P"], order: Int[ArrayLike, "B N"], *, nets: dict,
  config: ConfigDict
) -> tuple[Float[Array, "B N P"], Float[Array, "B N"]]:
  """What the decoder says of every patch, and 1 where it was hidden.

  The first patches in `order` are seen.
  """
  places = order[:, : visible_count(config)]
  visible = jnp.take_along_axis(patches, places[..., None], axis=1)
  vectors = nets["encoder"].apply({"params": params["encoder"]}, visible, places)
  predicted = nets["decoder"].apply({"params": params["decoder"]}, vectors, order)
  hidden = (jnp.argsort(order, axis=1) >= places.shape[1]).astype(jnp.float32)
  return predicted, hidden


def errors(
  params: dict, images: Float[ArrayLike, "B S S C"], rng: Array, axis_name: str | None, *, nets: dict,
  config: ConfigDict
) -> tuple[Float[Array, "B N"], Float[Array, "B N"]]:
  """The squared error of each patch, and 1 where it was hidden. Masks are drawn from `rng`."""
  patches = to_patches(images, config.mae.patch)
  index = gradient_step.global_index(images.shape[0], axis_name)
  order = orders(rng, index, patches.shape[1])
  predicted, hidden = predict(params, patches, order, nets=nets, config=config)
  target = losses.normalized(patches) if config.mae.normalize else patches
  return losses.squared_error(predicted, target), hidden


# ---------------------------------------------------------------- training

WEIGHTS = {"reconstruction": 1.0}


def loss_terms(
  params: dict, batch: dict, rng: Array, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> tuple[dict, dict]:
  """The mean over all hidden patches of the global batch, and numbers for the log: none."""
  values, hidden = errors(params, batch["image"], rng, axis_name, nets=nets, config=config)
  return {"reconstruction": masked_mean(values, hidden, axis_name)}, {}


# ---------------------------------------------------------------- evaluation


def validate(
  state: TrainState, batch: dict, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> dict:
  """`val/reconstruction`: the loss under masks that are the same at every call."""
  variables, rng = inference_variables(state), jax.random.key(0)
  values, hidden = errors(variables, batch["image"], rng, axis_name, nets=nets, config=config)
  scores = {"val/reconstruction": (values * hidden).sum(axis=1) / hidden.sum(axis=1)}
  return gradient_step.masked_totals(scores, batch["_mask"], axis_name)


def pictures(
  params: dict, images: Float[ArrayLike, "B S S C"], *, nets: dict, config: ConfigDict
) -> dict[str, Float[Array, "B S S C"]]:
  """`seen`, the picture without its hidden patches, and `reconstruction`, in which these are the decoder's.

  A decoder of normalised patches is lent their true mean and deviation.
  """
  patches = to_patches(images, config.mae.patch)
  order = orders(jax.random.key(0), jnp.arange(images.shape[0]), patches.shape[1])
  predicted, hidden = predict(params, patches, order, nets=nets, config=config)
  if config.mae.normalize:
    mean, deviation = losses.statistics(patches)
    predicted = predicted * deviation + mean
  hidden = hidden[..., None]
  whole = jnp.where(hidden > 0, jnp.clip(predicted, -1.0, 1.0), patches)
  return {
    "seen": to_images(patches * (1 - hidden), config.mae.patch),
    "reconstruction": to_images(whole, config.mae.patch),
  }


# ---------------------------------------------------------------- configuration


def defaults() -> dict[str, dict[str, Any]]:
  return baseline.defaults() | dict(
      mae=dict(
          patch=4,                # side of a patch in pixels; divides data.side
          mask=0.75,              # share of the patches that are hidden
          normalize=True,         # patches are foretold less their mean, over their deviation
          width=128,              # of the encoder: numbers of a token, a multiple of 4 and of heads
          depth=4,                # blocks
          heads=4,
          decoder_width=64,
          decoder_depth=1,
          decoder_heads=4,
      ),
  )


def check(config: ConfigDict, devices: int) -> None:
  """Raises `UserError` for pictures that patches do not fill, and for heads that do not divide a width."""
  mae, side = config.mae, config.data.side
  inputs.check_images(config, channels=(1, 3), sides=(side,))
  if side % mae.patch:
    raise UserError(f"config.mae.patch = {mae.patch}: must divide config.data.side = {side}")
  if side == mae.patch:
    raise UserError(f"config.mae.patch = {mae.patch}: must be less than config.data.side = {side}")
  if visible_count(config) == (side // mae.patch) ** 2:
    raise UserError(f"config.mae.mask = {mae.mask}: hides no patch of {(side // mae.patch) ** 2}")
  for width, heads in (("width", "heads"), ("decoder_width", "decoder_heads")):
    if mae[width] % mae[heads]:
      raise UserError(f"config.mae.{heads} = {mae[heads]}: must divide config.mae.{width} = {mae[width]}")


METHOD = Description(
    defaults=defaults,
    rules=baseline.RULES | {
        "mae.patch": at_least(1),
        "mae.mask": Rule(lambda value: 0 < value < 1, "above 0 and below 1"),
        "mae.normalize": ANYTHING,
        "mae.width": inputs.WIDTH,
        "mae.depth": at_least(1),
        "mae.heads": at_least(1),
        "mae.decoder_width": inputs.WIDTH,
        "mae.decoder_depth": at_least(1),
        "mae.decoder_heads": at_least(1),
    },
    variants={"small": baseline.small},
    check=check,
    reads=baseline.reads,
    create=create,
)
