"""A toy method on clips `[T, S, S, C]`: a linear auto-encoder of each frame.

A clip's code is the mean over its frames.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from pdr_jax.elements import Element, ElementSpec
from pdr_jax.errors import UserError
from pdr_jax.losses.reduce import masked_mean
from pdr_jax.methods.contract import Description, Method, TrainState, inference_variables
from pdr_jax.methods.shared import gradient_step, optimizer
from pdr_jax.rules import at_least

WEIGHTS = {"reconstruction": 1.0}


def create(config: ConfigDict) -> Method:
  nets, tx = networks(config), optimizer.create(config)
  return Method(
      init=partial(init, nets=nets, tx=tx, config=config),
      update=partial(update, nets=nets, tx=tx, config=config),
      validate=partial(validate, nets=nets),
      gradient_norms=partial(gradient_norms, nets=nets),
      encode=partial(encode, nets=nets),
      pictures=partial(pictures, nets=nets),
  )


def networks(config: ConfigDict) -> dict[str, nn.Module]:
  pixels = config.data.side**2 * config.data.channels
  return {"encoder": nn.Dense(config.toy_clips.size), "decoder": nn.Dense(pixels)}


def init(
    rng: Array, batch: dict, *, nets: dict, tx: optax.GradientTransformation, config: ConfigDict
) -> TrainState:
  pixels = config.data.side**2 * config.data.channels
  sizes = {"encoder": pixels, "decoder": config.toy_clips.size}
  params = {
      name: net.init(jax.random.fold_in(rng, i), jnp.zeros((1, sizes[name])))["params"]
      for i, (name, net) in enumerate(nets.items())
  }
  return gradient_step.init(params, tx, config)


def frame_codes(params: dict, clips: Float[Array, "B T S S C"], nets: dict) -> Float[Array, "B T D"]:
  return nets["encoder"].apply({"params": params["encoder"]}, clips.reshape(*clips.shape[:2], -1))


def decode(params: dict, codes: Float[Array, "B T D"], shape: tuple[int, ...], nets: dict) -> Array:
  return nets["decoder"].apply({"params": params["decoder"]}, codes).reshape(shape)


def errors(params: dict, clips: Float[Array, "B T S S C"], nets: dict) -> Float[Array, " B"]:
  decoded = decode(params, frame_codes(params, clips, nets), clips.shape, nets)
  return jnp.square(decoded - clips).mean(axis=(1, 2, 3, 4))


def loss_terms(params: dict, batch: dict, axis_name: str | None, *, nets: dict) -> tuple[dict, dict]:
  return {"reconstruction": masked_mean(errors(params, batch["clip"], nets), None, axis_name)}, {}


def update(
    state: TrainState, batch: dict, rng: Array, axis_name: str | None, *, nets: dict,
    tx: optax.GradientTransformation, config: ConfigDict
) -> tuple[TrainState, dict]:
  terms_of = partial(loss_terms, batch=batch, axis_name=axis_name, nets=nets)
  count = batch["clip"].shape[0]
  return gradient_step.update(
    state, terms_of, WEIGHTS, count=count, axis_name=axis_name, tx=tx, config=config
  )


def gradient_norms(state: TrainState, batch: dict, rng: Array, axis_name: str | None, *, nets: dict) -> dict:
  terms_of = partial(loss_terms, batch=batch, axis_name=axis_name, nets=nets)
  return gradient_step.gradient_norms(state.params, terms_of, WEIGHTS, axis_name)


def validate(state: TrainState, batch: dict, axis_name: str | None, *, nets: dict) -> dict:
  scores = {"val/reconstruction": errors(inference_variables(state), batch["clip"], nets)}
  return gradient_step.masked_totals(scores, batch["_mask"], axis_name)


def encode(
  variables: dict, clips: Float[Array, "B T S S C"], *, nets: dict
) -> dict[str, Float[Array, "B D"]]:
  return {"content": frame_codes(variables, clips, nets).mean(axis=1)}


def pictures(
    variables: dict, clips: Float[Array, "B T S S C"], *, nets: dict
) -> dict[str, Float[Array, "B S S C"]]:
  """The first frame, and what is decoded of it."""
  decoded = decode(variables, frame_codes(variables, clips, nets), clips.shape, nets)
  return {"first frame": clips[:, 0], "reconstruction": jnp.clip(decoded[:, 0], -1.0, 1.0)}


def defaults() -> dict[str, dict[str, Any]]:
  return dict(
      data=dict(side=12, frames=3),
      optim=dict(learning_rate=1e-2),
      toy_clips=dict(
          size=6,                   # numbers in a frame's code
      ),
  )


def check(config: ConfigDict, devices: int) -> None:
  if config.data.frames < 1:
    raise UserError(f"config.data.frames = {config.data.frames}: config.method={config.method} takes clips")


def reads(config: ConfigDict) -> ElementSpec:
  data = config.data
  return {"clip": Element((data.frames, data.side, data.side, data.channels), "float32", "clip", (-1.0, 1.0))}


METHOD = Description(
    defaults=defaults,
    rules={"toy_clips.size": at_least(1)},
    variants={},
    check=check,
    reads=reads,
    create=create,
    input="clip",
)
