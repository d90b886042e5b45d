"""SimCLR (Chen et al. 2020): two augmented views of an image are drawn together, against the views of all
other images of the batch.

The backbone is PDR's map encoder, the projection head a two-layer perceptron without batch normalisation,
whose statistics would depend on how the batch is spread over devices. Optimiser, steps and batch are those of
the other methods.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.losses import contrastive
from pdr_jax.losses.reduce import masked_mean
from pdr_jax.methods.contract import Description, Method, TrainState, inference_variables
from pdr_jax.methods.shared import augment, baseline, gradient_step, inputs, optimizer
from pdr_jax.rules import Rule, above, at_least, between

# Minus the similarity of padding with everything else, far beyond what the exponential can tell from nothing.
PADDING = 1e4


def create(config: ConfigDict) -> Method:
  """The method `simclr`."""
  nets = gradient_step.recomputed(networks(config), config)
  tx = optimizer.create(config)
  return Method(
      init=partial(baseline.init, nets=nets, tx=tx, config=config),
      update=partial(update, nets=nets, tx=tx, config=config),
      validate=partial(validate, nets=nets, config=config),
      gradient_norms=partial(gradient_norms, nets=nets, config=config),
      encode=partial(encode, nets=nets),
      feature_maps=partial(baseline.feature_maps, config=config),
      pictures=partial(pictures, config=config),
  )


def networks(config: ConfigDict) -> dict[str, nn.Module]:
  """`encoder`, and `projection`, its bottleneck to the `simclr.projection` numbers that are contrasted
  (float32 at any compute dtype).
  """
  head = nn.Sequential(
    [nn.Dense(baseline.representation_size(config)), nn.relu, nn.Dense(config.simclr.projection)]
  )
  return {"encoder": baseline.encoder(config), "projection": head}


def encode(
  params: dict, images: Float[ArrayLike, "B S S 3"], *, nets: dict
) -> dict[str, Float[Array, "B D"]]:
  """`backbone`: the features before the projection head, which are non-negative.

  They serve better downstream (section 4.2).
  """
  return {"backbone": baseline.embed(params, images, nets)}


def views(
  rng: Array, images: Float[ArrayLike, "B S S 3"], axis_name: str | None, config: ConfigDict
) -> tuple[Array, Array]:
  """Two augmentations of each image, drawn by its place in the global batch."""
  index = gradient_step.global_index(images.shape[0], axis_name)
  first, second = (
    augment.apply(images, augment.draw(jax.random.fold_in(rng, view), index, config)) for view in range(2)
  )
  return first, second


def project(
  params: dict, pair: tuple[ArrayLike, ArrayLike], nets: dict
) -> tuple[Float[Array, "B P"], Float[Array, "B P"]]:
  """The unit vectors of both views of each image."""
  features = baseline.embed(params, jnp.concatenate(pair), nets)
  first, second = jnp.split(
    contrastive.l2_normalize(nets["projection"].apply({"params": params["projection"]}, features)), 2
  )
  return first, second


# ---------------------------------------------------------------- training


def term_weights(config: ConfigDict) -> dict[str, float]:
  """The one loss term."""
  return {"nt_xent": 1.0}


def loss_terms(
  params: dict, batch: dict, rng: Array, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> tuple[dict, dict]:
  """NT-Xent's mean over the global batch, and numbers for the log: none."""
  first, second = project(params, views(rng, batch["image"], axis_name, config), nets)
  values = contrastive.nt_xent(first, second, temperature=config.simclr.temperature, axis_name=axis_name)
  return {"nt_xent": masked_mean(values, None, axis_name)}, {}


def update(
  state: TrainState,
  batch: dict,
  rng: Array,
  axis_name: str | None,
  *,
  nets: dict,
  tx: optax.GradientTransformation,
  config: ConfigDict,
) -> tuple[TrainState, dict]:
  """One step (see `gradient_step.update`)."""
  terms_of = partial(loss_terms, batch=batch, rng=rng, axis_name=axis_name, nets=nets, config=config)
  count = batch["image"].shape[0]
  return gradient_step.update(
    state, terms_of, term_weights(config), count=count, axis_name=axis_name, tx=tx, config=config
  )


def gradient_norms(
  state: TrainState, batch: dict, rng: Array, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> dict:
  """The norm of the gradient (see `gradient_step.gradient_norms`)."""
  terms_of = partial(loss_terms, batch=batch, rng=rng, axis_name=axis_name, nets=nets, config=config)
  return gradient_step.gradient_norms(state.params, terms_of, term_weights(config), axis_name)


# ---------------------------------------------------------------- evaluation


def validate(
  state: TrainState, batch: dict, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> dict:
  """`val/nt_xent`: the loss under augmentations that are the same at every call.

  It compares images with the others of their batch. Like every contrastive loss it depends on the size of the
  batch; padding is no image's negative.
  """
  valid = batch["_mask"]
  first, second = project(
    inference_variables(state), views(jax.random.key(0), batch["image"], axis_name, config), nets
  )
  # One more number: 1 for images, which adds the same to all their similarities, and for padding such that it
  # is unlike every image.
  def place(features):
    return jnp.where(
      valid[:, None] > 0,
      jnp.pad(features, ((0, 0), (0, 1)), constant_values=1.0),
      jnp.pad(jnp.zeros_like(features), ((0, 0), (0, 1)), constant_values=-PADDING),
    )

  values = contrastive.nt_xent(
    place(first), place(second), temperature=config.simclr.temperature, axis_name=axis_name
  )
  return gradient_step.masked_totals({"val/nt_xent": values.reshape(2, -1).mean(axis=0)}, valid, axis_name)


def pictures(
  params: dict, images: Float[ArrayLike, "B S S 3"], *, config: ConfigDict
) -> dict[str, Float[Array, "B S S 3"]]:
  """`view 1` and `view 2`: what the loss contrasts (the parameters have no part in it)."""
  first, second = views(jax.random.key(0), images, None, config)
  return {"view 1": first, "view 2": second}


# ---------------------------------------------------------------- configuration


def defaults() -> dict[str, dict[str, Any]]:
  return baseline.defaults() | dict(
      simclr=dict(
          crop=0.08,              # smallest share of the picture's area that a crop keeps
          color=0.5,              # strength of the colour distortion (published: 0.5 for small images, 1 for
                                  # ImageNet)
          projection=128,         # numbers after the projection head
          temperature=0.5,        # of the contrast
      ),
      train=dict(best_metric="val/nt_xent"),
  )


def check(config: ConfigDict, devices: int) -> None:
  """Raises `UserError` for pictures without colour, and for a batch of one."""
  inputs.check_images(config)
  if config.train.batch_size < 2:
    raise UserError(
      f"config.train.batch_size = {config.train.batch_size}: SimCLR contrasts images of a batch and needs at"
      " least 2"
    )


METHOD = Description(
    defaults=defaults,
    rules=baseline.RULES | {
        "simclr.crop": Rule(lambda value: 0 < value <= 1, "above 0 and at most 1"),
        "simclr.color": between(0, 1),
        "simclr.projection": at_least(1),
        "simclr.temperature": above(0),
    },
    variants={"small": baseline.small},
    check=check,
    reads=baseline.reads,
    create=create,
)
