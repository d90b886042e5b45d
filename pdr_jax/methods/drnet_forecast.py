"""Forecasts of a trained DrNET: a recurrent network continues the poses, and the content stays.

A second stage (specification, section 2.5): encoders and decoder are those of `config.init_from`, frozen, by
their running statistics. The network reads the pose of a frame beside the content of the last frame that is
given, and says the pose of the next one. A forecast feeds its own poses back, for as long as one likes, and
decodes each with the one content. The published network learns with true poses as its inputs alone; here it
also learns from what it feeds back, and it reads and says poses in units of their spread (`parity` does
neither).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.elements import ElementSpec
from pdr_jax.errors import UserError
from pdr_jax.methods.contract import (
  MODEL_STATE,
  Description,
  FirstStage,
  Method,
  TrainState,
  inference_variables,
)  # fmt: skip
from pdr_jax.methods.drnet import networks, settings
from pdr_jax.methods.drnet.system import Frozen
from pdr_jax.methods.shared import gradient_step, optimizer, still_frames
from pdr_jax.networks.batch_norm import MOMENTUM, moments
from pdr_jax.networks.blocks import unit
from pdr_jax.networks.lstm import Stack
from pdr_jax.rules import ANYTHING, at_least

WEIGHTS = {"pose": 1.0}
POSES = "poses"  # the running mean and variance of true poses in the model state
SMALLEST = 1e-6  # variance that is added to that of poses, which may all be the same
SHOWN = 5  # frames of the forecast in `pictures`


class Model(NamedTuple):
  """The recurrent network and the frozen first stage, without their variables.

  `variables` below are those of inference: `predictor`, and in the model state the first stage and, with
  `standardise`, the statistics of poses.
  """

  net: Stack
  nets: dict[str, Any]
  first: ConfigDict
  standardise: bool
  remat: bool  # a step's activations are computed again, not kept

  def frozen(self, variables: dict) -> Frozen:
    """The first stage by the variables of the second."""
    return Frozen(variables[MODEL_STATE]["first"], self.nets, self.first)

  def step(self, variables: dict, state: Any, pose: Array, content: Array | None) -> tuple[Any, Array]:
    """The network's state, and the pose of the next frame."""
    mean, deviation = self.scale(variables)
    seen = networks.concatenated(content, (pose - mean) / deviation)
    apply = jax.checkpoint(self.net.apply) if self.remat else self.net.apply
    state, raw = apply({"params": variables["predictor"]}, state, seen)
    pose = mean + deviation * raw if self.standardise else jnp.tanh(raw)
    return state, unit(pose) if self.first.drnet.unit_length else pose

  def scale(self, variables: dict) -> tuple[ArrayLike, ArrayLike]:
    """The mean of poses and their standard deviation, `[1, P]`; or 0 and 1."""
    if not self.standardise:
      return 0.0, 1.0
    poses = variables[MODEL_STATE][POSES]
    return poses["mean"][None], jnp.sqrt(poses["var"] + SMALLEST)[None]

  def forced(
    self, variables: dict, poses: Float[ArrayLike, "B T P"], content: Float[ArrayLike, "B D"] | None
  ) -> tuple[Any, Float[Array, "B T P"]]:
    """The state after true poses, and what was expected after each of them."""
    def body(state, pose):
      return self.step(variables, state, pose, content)

    state, expected = jax.lax.scan(body, self.net.start(poses.shape[0]), jnp.swapaxes(poses, 0, 1))
    return state, jnp.swapaxes(expected, 0, 1)

  def free(
    self, variables: dict, poses: Float[ArrayLike, "B T P"], content: Float[ArrayLike, "B D"] | None,
    frames: int,
  ) -> Float[Array, "B E P"]:
    """What is expected after each of the true poses, T, and `frames - 1` more, each read from the one before.
    """
    state, expected = self.forced(variables, poses, content)

    def body(carry, _):
      state, pose = self.step(variables, *carry, content)
      return (state, pose), pose

    more = jax.lax.scan(body, (state, expected[:, -1]), None, length=frames - 1)[1]
    return jnp.concatenate([expected, jnp.swapaxes(more, 0, 1)], axis=1)


def create(config: ConfigDict, first: FirstStage) -> Method:
  """The method `drnet_forecast` on top of a DrNET. Raises `UserError` for another first stage."""
  if "drnet" not in first.config:
    raise UserError(f"config.init_from is a run of {first.config.method}: config.method={config.method}"
                    " continues one of drnet")
  for key in ("side", "channels"):
    if config.data[key] != first.config.data[key]:
      raise UserError(
        f"config.data.{key} = {config.data[key]}: must be {first.config.data[key]}, as in the first stage"
      )
  own, tx = config.drnet_forecast, optimizer.create(config)
  net = Stack(own.hidden, own.layers, first.config.drnet.pose_size)
  model = Model(net, networks.create(first.config), first.config, own.standardise, config.train.remat)
  return Method(
      init=partial(init, model=model, tx=tx, config=config),
      update=partial(update, model=model, tx=tx, config=config),
      validate=partial(validate, model=model, config=config),
      encode=partial(encode, model=model),
      forecast=partial(forecast, model=model),
      pictures=partial(pictures, model=model, config=config),
      baselines=partial(baselines, config=config),
  )


def init(
  rng: Array, batch: dict, *, model: Model, tx: optax.GradientTransformation, config: ConfigDict
) -> TrainState:
  """A fresh network."""
  sizes = model.first.drnet
  example = jnp.zeros((1, sizes.content_size + sizes.pose_size))
  params = model.net.init(rng, model.net.start(1), example)["params"]
  pose = (sizes.pose_size,)
  statistics = {POSES: {"mean": jnp.zeros(pose), "var": jnp.ones(pose)}} if model.standardise else None
  return gradient_step.init({"predictor": params}, tx, config, statistics)


def embed(frozen: Frozen, clips: Float[ArrayLike, "B T S S C"], past: int) -> tuple[Array | None, Array]:
  """The content of the last frame that is given, and the poses of all; no gradient flows to them."""
  content, _ = frozen.content(clips[:, past - 1])
  return jax.lax.stop_gradient((content, frozen.poses(clips)))


def errors(
  expected: Float[ArrayLike, "B T P"], poses: Float[ArrayLike, "B T+1 P"]
) -> Float[Array, "B T"]:
  """The mean squared error of each expected pose."""
  return jnp.square(expected - poses[:, 1:]).mean(axis=-1)


def update(
    state: TrainState, batch: dict, rng: Array, axis_name: str | None, *, model: Model,
    tx: optax.GradientTransformation, config: ConfigDict
) -> tuple[TrainState, dict]:
  """One step on the errors summed over the frames."""
  own = config.drnet_forecast
  content, poses = embed(model.frozen({MODEL_STATE: state.model_state}), batch["clip"], own.past)
  if model.standardise:
    state = state.replace(model_state=state.model_state | {POSES: moved(state.model_state, poses, axis_name)})

  def terms_of(params):
    variables = params | {MODEL_STATE: state.model_state}
    if own.free_running:
      expected = model.free(variables, poses[:, : own.past], content, poses.shape[1] - own.past)
    else:
      expected = model.forced(variables, poses[:, :-1], content)[1]
    return {"pose": errors(expected, poses).sum(axis=1).mean()}, {}

  return gradient_step.update(
    state, terms_of, WEIGHTS, count=poses.shape[0], axis_name=axis_name, tx=tx, config=config
  )


def moved(model_state: dict, poses: Float[ArrayLike, "B T P"], axis_name: str | None) -> dict[str, Array]:
  """The statistics of poses, nearer to those of a batch."""
  mean, variance, _ = moments(poses, axis_name)
  before = model_state[POSES]
  return jax.tree.map(lambda old, new: old + MOMENTUM * (new - old), before, {"mean": mean, "var": variance})


# ---------------------------------------------------------------- evaluation


def forecast(
  variables: dict, clips: Float[ArrayLike, "B T S S C"], frames: int, *, model: Model
) -> Float[Array, "B F S S C"]:
  """What comes after the clips."""
  frozen = model.frozen(variables)
  content, skips = frozen.content(clips[:, -1])
  poses = model.free(variables, frozen.poses(clips), content, frames)[:, -frames:]
  decoded = jax.lax.map(lambda pose: frozen.decode(content, skips, pose), jnp.swapaxes(poses, 0, 1))
  return jnp.swapaxes(decoded, 0, 1)


def validate(
  state: TrainState, batch: dict, axis_name: str | None, *, model: Model, config: ConfigDict
) -> dict:
  """`val/pose`, the error of poses that are expected after true ones, and of a forecast `val/mse`, the mean
  squared error of its frames.
  """
  variables, clips, past = inference_variables(state), batch["clip"], config.drnet_forecast.past
  content, poses = embed(model.frozen(variables), clips, past)
  future = forecast(variables, clips[:, :past], clips.shape[1] - past, model=model)
  scores = {
    "val/pose": errors(model.forced(variables, poses[:, :-1], content)[1], poses).mean(axis=1),
    "val/mse": jnp.square(future - clips[:, past:]).mean(axis=(1, 2, 3, 4)),
  }
  return gradient_step.masked_totals(scores, batch["_mask"], axis_name)


def baselines(batches: Any, sums: Any, *, config: ConfigDict) -> dict[str, dict[str, float]]:
  """`val/mse` of the last given frame, and of the mean of the given frames, in the place of a forecast."""
  past = config.drnet_forecast.past

  def split(clips: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    given = clips[:, :past]
    guesses = {"last frame": given[:, -1:], "mean frame": given.mean(axis=1, keepdims=True)}
    return clips[:, past:], guesses

  return still_frames.errors(batches, sums, "val/mse", split)


def encode(
  variables: dict, clips: Float[ArrayLike, "B T S S C"], *, model: Model
) -> dict[str, Float[Array, "B D"]]:
  """`content` of the last frame, and `motion`, the state of the recurrent network after the clip."""
  frozen = model.frozen(variables)
  content, _ = frozen.content(clips[:, -1])
  state, _ = model.forced(variables, frozen.poses(clips), content)
  blocks = {} if content is None else {"content": content}
  return blocks | {"motion": jnp.concatenate([part for layer in state for part in layer], axis=-1)}


def pictures(
  variables: dict, clips: Float[ArrayLike, "B T S S C"], *, model: Model, config: ConfigDict
) -> dict[str, Float[Array, "B S S C"]]:
  """The last given frame, and frames of the forecast beside the true ones, in [-1, 1].

  Names are in the order of the sheet, since a compiled function sorts them.
  """
  past, total, clips = config.drnet_forecast.past, clips.shape[1], jnp.asarray(clips)
  future = forecast(variables, clips[:, :past], total - past, model=model)
  shown = {"+00 given": clips[:, past - 1]}
  for t in sorted({round(i * (total - past - 1) / (SHOWN - 1)) for i in range(SHOWN)}):
    shown[f"+{t + 1:02d} true"] = clips[:, past + t]
    shown[f"+{t + 1:02d} forecast"] = future[:, t]
  return {name: 2 * values - 1 for name, values in shown.items()}


# ---------------------------------------------------------------- configuration


def defaults() -> dict[str, dict[str, Any]]:
  return dict(
      data=dict(side=64, frames=20),
      optim=dict(learning_rate=2e-3, weight_decay=0.0, clip_norm=0.0),
      train=dict(batch_size=100, steps=50_000, best_metric="val/mse"),
      drnet_forecast=dict(
          past=10,                # frames that are given; the rest of data.frames is foretold
          free_running=True,      # learns the rest from its own poses (False: from true ones alone)
          standardise=True,       # reads and says poses in units of their spread (False: as they are)
          hidden=256,             # numbers in each layer
          layers=2,
      ),
  )


def parity(config: ConfigDict) -> None:
  """What the released codes do."""
  config.drnet_forecast.update(free_running=False, standardise=False)
  config.train.best_metric = "val/pose"


def check(config: ConfigDict, devices: int) -> None:
  """Raises `UserError` where nothing is given, or nothing left to foretell."""
  settings.check_clips(config)
  past, frames = config.drnet_forecast.past, config.data.frames
  if not past < frames:
    raise UserError(
      f"config.drnet_forecast.past = {past}: must be below config.data.frames = {frames}, so that something"
      " is left to foretell"
    )


def reads(config: ConfigDict) -> ElementSpec:
  return settings.reads(config)


METHOD = Description(
    defaults=defaults,
    rules={
        "drnet_forecast.past": at_least(1),
        "drnet_forecast.free_running": ANYTHING,
        "drnet_forecast.standardise": ANYTHING,
        "drnet_forecast.hidden": at_least(1),
        "drnet_forecast.layers": at_least(1),
    },
    variants={"parity": parity},
    check=check,
    reads=reads,
    create=create,
    input="clip",
    stage=True,
)
