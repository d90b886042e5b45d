"""A toy second stage: a linear map from the code of a frame to that of the next.

The codes come from a frozen method that encodes clips.
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
from pdr_jax.losses.reduce import masked_mean
from pdr_jax.methods.contract import (
  MODEL_STATE,
  Description,
  FirstStage,
  Method,
  TrainState,
  inference_variables,
)  # fmt: skip
from pdr_jax.methods.shared import gradient_step, optimizer

WEIGHTS = {"error": 1.0}


def create(config: ConfigDict, first: FirstStage) -> Method:
  """`first` encodes clips of any length; the code is that of its first block."""
  tx, code = optimizer.create(config), partial(codes, encode=first.method.encode)
  shapes = jax.eval_shape(first.method.encode, first.variables, _clips(config))
  size = shapes[min(shapes)].shape[1]
  net = nn.Dense(size)
  return Method(
      init=partial(init, net=net, size=size, tx=tx, config=config),
      update=partial(update, net=net, code=code, tx=tx, config=config),
      validate=partial(validate, net=net, code=code),
      encode=partial(encode, net=net, code=code),
      pictures=pictures,
  )


def _clips(config: ConfigDict) -> jax.ShapeDtypeStruct:
  element = reads(config)["clip"]
  return jax.ShapeDtypeStruct((1, *element.shape), jnp.dtype(element.dtype))


def codes(first: dict, clips: Float[Array, "B T S S C"], *, encode: Any) -> Float[Array, "B T D"]:
  """The frozen code of each frame."""
  frames = []
  for i in range(clips.shape[1]):
    blocks = encode(first, clips[:, i : i + 1])
    frames.append(blocks[min(blocks)])
  return jax.lax.stop_gradient(jnp.stack(frames, axis=1))


def init(
  rng: Array, batch: dict, *, net: nn.Module, size: int, tx: optax.GradientTransformation, config: ConfigDict
) -> TrainState:
  return gradient_step.init({"next": net.init(rng, jnp.zeros((1, size)))["params"]}, tx, config)


def errors(params: dict, frames: Float[Array, "B T D"], net: nn.Module) -> Float[Array, " B"]:
  predicted = net.apply({"params": params["next"]}, frames[:, :-1])
  return jnp.square(predicted - frames[:, 1:]).mean(axis=(1, 2))


def update(
    state: TrainState, batch: dict, rng: Array, axis_name: str | None, *, net: nn.Module, code: Any,
    tx: optax.GradientTransformation, config: ConfigDict
) -> tuple[TrainState, dict]:
  frames = code(state.model_state["first"], batch["clip"])

  def terms_of(params):
    return {"error": masked_mean(errors(params, frames, net), None, axis_name)}, {}

  count = len(frames)
  return gradient_step.update(
    state, terms_of, WEIGHTS, count=count, axis_name=axis_name, tx=tx, config=config
  )


def validate(state: TrainState, batch: dict, axis_name: str | None, *, net: nn.Module, code: Any) -> dict:
  variables = inference_variables(state)
  frames = code(variables[MODEL_STATE]["first"], batch["clip"])
  return gradient_step.masked_totals({"val/error": errors(variables, frames, net)}, batch["_mask"], axis_name)


def encode(
    variables: dict, clips: Float[Array, "B T S S C"], *, net: nn.Module, code: Any
) -> dict[str, Float[Array, "B D"]]:
  """`last`: the code of the last frame, and `next`: what is expected after it."""
  last = code(variables[MODEL_STATE]["first"], clips)[:, -1]
  return {"last": last, "next": net.apply({"params": variables["next"]}, last)}


def pictures(variables: dict, clips: Float[Array, "B T S S C"]) -> dict[str, Float[Array, "B S S C"]]:
  return {"last frame": clips[:, -1]}


def defaults() -> dict[str, dict[str, Any]]:
  return dict(
      data=dict(side=12, frames=3),
      optim=dict(learning_rate=1e-2),
      train=dict(best_metric="val/error"),
  )


def check(config: ConfigDict, devices: int) -> None:
  """Whatever the first stage encodes will do."""


def reads(config: ConfigDict) -> ElementSpec:
  data = config.data
  return {"clip": Element((data.frames, data.side, data.side, data.channels), "float32", "clip", (-1.0, 1.0))}


METHOD = Description(
    defaults=defaults,
    rules={},
    variants={},
    check=check,
    reads=reads,
    create=create,
    input="clip",
    stage=True,
)
