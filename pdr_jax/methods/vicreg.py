"""VICReg (Bardes, Ponce, LeCun 2022, arXiv 2105.04906): two augmented views of an image are drawn together.

Without negatives: every number of the code keeps its spread over the batch, and no two numbers go together.
The loss is equation 6, `invariance s(Z, Z') + variance [v(Z) + v(Z')] + covariance [c(Z) + c(Z')]`, with the
terms of `losses.vicreg`. (The released code halves the second term.)

Backbone and augmentations are those of `simclr`. The expander has three layers as published, with layer
normalisation in the place of the batch's, whose statistics would need a state. Optimiser, steps and batch are
those of the other methods.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.losses import vicreg as losses
from pdr_jax.losses.reduce import masked_mean
from pdr_jax.methods.contract import Description, Method, TrainState, inference_variables
from pdr_jax.methods.shared import augment, baseline, gradient_step, inputs, optimizer
from pdr_jax.rules import at_least

TERMS = ("invariance", "variance", "covariance")


def create(config: ConfigDict) -> Method:
  """The method `vicreg`."""
  nets = gradient_step.recomputed(networks(config), config)
  tx = optimizer.create(config)
  terms = partial(loss_terms, nets=nets, config=config)
  return Method(
      init=partial(baseline.init, nets=nets, tx=tx, config=config),
      validate=partial(validate, nets=nets, config=config),
      **gradient_step.of_terms(terms, term_weights(config), tx=tx, config=config),
      encode=partial(encode, nets=nets),
      feature_maps=partial(baseline.feature_maps, config=config),
      pictures=partial(augment.pictures, settings=config.vicreg),
  )


def networks(config: ConfigDict) -> dict[str, nn.Module]:
  """`encoder`, and `expander`, its bottleneck to `vicreg.expander` numbers (float32 at any compute dtype)."""
  width = config.vicreg.expander
  hidden = [layer for _ in range(2) for layer in (nn.Dense(width), nn.LayerNorm(), nn.relu)]
  return {
    "encoder": baseline.encoder(config),
    "expander": nn.Sequential([*hidden, nn.Dense(width, use_bias=False)]),
  }


def encode(
  params: dict, images: Float[ArrayLike, "B S S 3"], *, nets: dict
) -> dict[str, Float[Array, "B D"]]:
  """`backbone`: the features before the expander, which are non-negative."""
  return {"backbone": baseline.embed(params, images, nets)}


def expand(
  params: dict, pair: tuple[ArrayLike, ArrayLike], nets: dict
) -> tuple[Float[Array, "B E"], Float[Array, "B E"]]:
  """The expanded codes of both views of each image."""
  features = baseline.embed(params, jnp.concatenate(pair), nets)
  first, second = jnp.split(nets["expander"].apply({"params": params["expander"]}, features), 2)
  return first, second


def terms_of_codes(
  first: Float[ArrayLike, "B E"], second: Float[ArrayLike, "B E"], mask: Float[ArrayLike, " B"] | None,
  axis_name: str | None
) -> dict[str, Float[Array, ""]]:
  """The three terms of equation 6, unweighted, of the images of the global batch that `mask` marks."""
  words = dict(mask=mask, axis_name=axis_name)
  return {
    "invariance": masked_mean(losses.invariance(first, second), mask, axis_name),
    "variance": sum(losses.variance(codes, **words).mean() for codes in (first, second)),
    "covariance": sum(losses.covariance(codes, **words).mean() for codes in (first, second)),
  }


# ---------------------------------------------------------------- training


def term_weights(config: ConfigDict) -> dict[str, float]:
  """Lambda, mu and nu of equation 6."""
  return {name: config.vicreg[name] for name in TERMS}


def loss_terms(
  params: dict, batch: dict, rng: Array, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> tuple[dict, dict]:
  """The three terms, unweighted, and numbers for the log: none."""
  first, second = expand(params, augment.views(rng, batch["image"], axis_name, config.vicreg), nets)
  return terms_of_codes(first, second, None, axis_name), {}


# ---------------------------------------------------------------- evaluation


def validate(
  state: TrainState, batch: dict, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> dict:
  """`val/vicreg`, the loss under augmentations that are the same at every call, and its terms.

  They are those of the batch, weighted by its images: like every statistic of a batch they depend on its
  size. Padding does not count.
  """
  valid = batch["_mask"]
  pair = augment.views(jax.random.key(0), batch["image"], axis_name, config.vicreg)
  terms = terms_of_codes(*expand(inference_variables(state), pair, nets), valid, axis_name)
  terms = gradient_step.mean_over(terms, axis_name)
  total = sum(weight * terms[name] for name, weight in term_weights(config).items())
  scores = {"val/vicreg": total} | {f"val/{name}": value for name, value in terms.items()}
  return gradient_step.masked_totals(
    {name: jnp.broadcast_to(value, valid.shape) for name, value in scores.items()}, valid, axis_name
  )


# ---------------------------------------------------------------- configuration


def defaults() -> dict[str, dict[str, Any]]:
  return baseline.defaults() | dict(
      vicreg=augment.defaults() | dict(
          expander=1_024,         # numbers in each layer of the expander (published: 8,192 after a backbone
                                  # of 2,048)
          invariance=25.0,        # weights of the terms, as published
          variance=25.0,
          covariance=1.0,
      ),
      train=dict(best_metric="val/vicreg"),
  )


def small(config: ConfigDict) -> None:
  """The variant `small`."""
  baseline.small(config)
  config.vicreg.expander = 512


def check(config: ConfigDict, devices: int) -> None:
  """Raises `UserError` for pictures without colour, and for a batch of one."""
  inputs.check_images(config)
  if config.train.batch_size < 2:
    raise UserError(
      f"config.train.batch_size = {config.train.batch_size}: VICReg measures the spread over a batch and"
      " needs at least 2"
    )


METHOD = Description(
    defaults=defaults,
    rules=baseline.RULES | augment.rules("vicreg") | {
        "vicreg.expander": at_least(1),
        **{f"vicreg.{name}": at_least(0) for name in TERMS},
    },
    variants={"small": small},
    check=check,
    reads=baseline.reads,
    create=create,
)
