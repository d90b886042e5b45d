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
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.losses import contrastive
from pdr_jax.losses.reduce import masked_mean
from pdr_jax.methods.contract import Description, Method, TrainState, inference_variables
from pdr_jax.methods.shared import augment, baseline, gradient_step, inputs, optimizer
from pdr_jax.rules import above, at_least

# Minus the similarity of padding with everything else, far beyond what the exponential can tell from nothing.
PADDING = 1e4


def create(config: ConfigDict) -> Method:
  """The method `simclr`."""
  nets = gradient_step.recomputed(networks(config), config)
  tx = optimizer.create(config)
  terms = partial(loss_terms, nets=nets, config=config)
  return Method(
      init=partial(baseline.init, nets=nets, tx=tx, config=config),
      validate=partial(validate, nets=nets, config=config),
      **gradient_step.of_terms(terms, term_weights(config), tx=tx, config=config),
      encode=partial(encode, nets=nets),
      feature_maps=partial(baseline.feature_maps, config=config),
      pictures=partial(augment.pictures, settings=config.simclr),
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
  pair = augment.views(rng, batch["image"], axis_name, config.simclr)
  first, second = project(params, pair, nets)
  values = contrastive.nt_xent(first, second, temperature=config.simclr.temperature, axis_name=axis_name)
  return {"nt_xent": masked_mean(values, None, axis_name)}, {}


# ---------------------------------------------------------------- evaluation


def validate(
  state: TrainState, batch: dict, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> dict:
  """`val/nt_xent`: the loss under augmentations that are the same at every call.

  It compares images with the others of their batch. Like every contrastive loss it depends on the size of the
  batch; padding is no image's negative.
  """
  valid = batch["_mask"]
  pair = augment.views(jax.random.key(0), batch["image"], axis_name, config.simclr)
  first, second = project(inference_variables(state), pair, nets)
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


# ---------------------------------------------------------------- configuration


def defaults() -> dict[str, dict[str, Any]]:
  return baseline.defaults() | dict(
      simclr=augment.defaults() | dict(
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
    rules=baseline.RULES | augment.rules("simclr") | {
        "simclr.projection": at_least(1),
        "simclr.temperature": above(0),
    },
    variants={"small": baseline.small},
    check=check,
    reads=baseline.reads,
    create=create,
)
