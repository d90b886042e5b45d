"""A toy method: a GAN on grey pictures of side 28.

Two networks with an optimiser each, batch statistics in the model state, a moving average of the generator
alone, and a best metric of which the highest value wins.
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
from pdr_jax.methods.contract import MODEL_STATE, Description, Method, TrainState, inference_variables
from pdr_jax.methods.shared import gradient_step
from pdr_jax.rules import above, at_least, fraction

EPSILON = 1e-3  # added to the variance of the batch statistics


def create(config: ConfigDict) -> Method:
  nets, optimisers = networks(config), {name: optax.adam(config.toy_gan[f"{name}_rate"]) for name in NETWORKS}
  return Method(
      init=partial(init, nets=nets, optimisers=optimisers, config=config),
      update=partial(update, nets=nets, optimisers=optimisers, config=config),
      validate=partial(validate, nets=nets, config=config),
      encode=partial(encode, nets=nets),
      generate=partial(generate, nets=nets, config=config),
      pictures=partial(pictures, nets=nets, config=config),
  )


NETWORKS = ("generator", "discriminator")


class Discriminator(nn.Module):
  """Hidden features of pictures, and the logit of features that were normalised."""

  width: int

  def setup(self):
    self.hidden, self.logit = nn.Dense(self.width, use_bias=False), nn.Dense(1)

  def features(self, pictures):
    return self.hidden(pictures.reshape(pictures.shape[0], -1))

  def judge(self, normalised):
    return self.logit(nn.relu(normalised))[:, 0]

  def __call__(self, pictures):
    return self.judge(self.features(pictures))


def networks(config: ConfigDict) -> dict[str, nn.Module]:
  pixels = config.data.side**2 * config.data.channels
  return {"generator": nn.Dense(pixels), "discriminator": Discriminator(config.toy_gan.width)}


def init(rng: Array, batch: dict, *, nets: dict, optimisers: dict, config: ConfigDict) -> TrainState:
  inputs = {
    "generator": jnp.zeros((1, config.toy_gan.noise)),
    "discriminator": jnp.zeros((1, *batch["image"].shape[1:])),
  }
  params = {
    name: nets[name].init(jax.random.fold_in(rng, i), inputs[name])["params"]
    for i, name in enumerate(NETWORKS)
  }
  width = config.toy_gan.width
  return TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      opt_state={name: optimisers[name].init(params[name]) for name in NETWORKS},
      model_state={"statistics": {"mean": jnp.zeros(width), "variance": jnp.ones(width)}},
      ema={"generator": jax.tree.map(jnp.array, params["generator"])},
  )


def draw(params: dict, rng: Array, index: Array, nets: dict, config: ConfigDict) -> Float[Array, "B S S C"]:
  """The generator's pictures for these places in the global batch, in (-1, 1)."""
  noise = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(rng, i), (config.toy_gan.noise,)))(index)
  side = config.data.side
  return jnp.tanh(nets["generator"].apply({"params": params}, noise)).reshape(len(index), side, side, -1)


def judge(params: dict, pictures: Array, statistics: dict, nets: dict) -> Float[Array, " B"]:
  """The logits of pictures, their features normalised by these statistics."""
  apply = partial(nets["discriminator"].apply, {"params": params})
  features = apply(pictures, method="features")
  scale = jax.lax.rsqrt(statistics["variance"] + EPSILON)[None]
  return apply((features - statistics["mean"][None]) * scale, method="judge")


def batch_statistics(params: dict, pictures: Array, axis_name: str | None, nets: dict) -> dict[str, Array]:
  """Mean and variance of the features over the global batch."""
  features = nets["discriminator"].apply({"params": params}, pictures, method="features")
  mean = gradient_step.mean_over(features.mean(axis=0), axis_name)
  variance = gradient_step.mean_over(jnp.square(features - mean[None]).mean(axis=0), axis_name)
  return {"mean": mean, "variance": variance}


def update(
  state: TrainState,
  batch: dict,
  rng: Array,
  axis_name: str | None,
  *,
  nets: dict,
  optimisers: dict,
  config: ConfigDict,
) -> tuple[TrainState, dict]:
  """One step of the discriminator, then one of the generator against the discriminator as it was."""
  real, count = batch["image"], batch["image"].shape[0]
  fake = partial(draw, rng=rng, index=gradient_step.global_index(count, axis_name), nets=nets, config=config)

  def discriminate(params):
    pictures = jnp.concatenate([real, jax.lax.stop_gradient(fake(state.params["generator"]))])
    statistics = batch_statistics(params, pictures, axis_name, nets)
    logits = judge(params, pictures, statistics, nets)
    labels = (jnp.arange(2 * count) < count).astype(jnp.float32)
    return optax.sigmoid_binary_cross_entropy(logits, labels).mean(), statistics

  def generate(params):
    pictures = fake(params)
    discriminator = state.params["discriminator"]
    logits = judge(discriminator, pictures, batch_statistics(discriminator, pictures, axis_name, nets), nets)
    return optax.sigmoid_binary_cross_entropy(logits, jnp.ones(count)).mean()

  (loss_d, statistics), grads_d = jax.value_and_grad(discriminate, has_aux=True)(
    state.params["discriminator"]
  )
  loss_g, grads_g = jax.value_and_grad(generate)(state.params["generator"])
  grads = gradient_step.mean_over({"generator": grads_g, "discriminator": grads_d}, axis_name)
  params, opt_state = {}, {}
  for name in NETWORKS:
    changes, opt_state[name] = optimisers[name].update(grads[name], state.opt_state[name])
    params[name] = optax.apply_updates(state.params[name], changes)
  decay = config.toy_gan.decay
  mixed = optax.incremental_update(statistics, state.model_state["statistics"], 1 - decay)
  ema = {"generator": optax.incremental_update(params["generator"], state.ema["generator"], 1 - decay)}
  losses = {"loss": loss_d + loss_g, "discriminator": loss_d, "generator": loss_g}
  metrics = gradient_step.as_metrics(losses, grads, count, axis_name)
  new = state.replace(
      step=state.step + 1, params=params, opt_state=opt_state, model_state={"statistics": mixed}, ema=ema
  )
  return new, metrics


def validate(
  state: TrainState, batch: dict, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> dict:
  """`val/realism`: the share of the pictures that the discriminator takes for real ones."""
  variables = inference_variables(state)
  logits = judge(variables["discriminator"], batch["image"], variables[MODEL_STATE]["statistics"], nets)
  return gradient_step.masked_totals({"val/realism": nn.sigmoid(logits)}, batch["_mask"], axis_name)


def encode(variables: dict, images: Float[Array, "B S S C"], *, nets: dict) -> dict[str, Float[Array, "B D"]]:
  """The discriminator's normalised features."""
  statistics = variables[MODEL_STATE]["statistics"]
  params = {"params": variables["discriminator"]}
  features = nets["discriminator"].apply(params, images, method="features")
  scale = jax.lax.rsqrt(statistics["variance"] + EPSILON)[None]
  return {"features": nn.relu((features - statistics["mean"][None]) * scale)}


def generate(
  variables: dict, rng: Array, count: int, *, nets: dict, config: ConfigDict
) -> Float[Array, "B S S C"]:
  return draw(variables["generator"], rng, jnp.arange(count), nets, config)


def pictures(
    variables: dict, images: Float[Array, "B S S C"], *, nets: dict, config: ConfigDict
) -> dict[str, Float[Array, "B S S C"]]:
  """`sample`: the same ones at every call."""
  return {"sample": generate(variables, jax.random.key(0), images.shape[0], nets=nets, config=config)}


def defaults() -> dict[str, dict[str, Any]]:
  return dict(
      data=dict(side=28, channels=1),
      train=dict(best_metric="val/realism", best_mode="highest"),
      toy_gan=dict(
          width=8,                  # features of the discriminator
          noise=4,                  # numbers that the generator reads
          decay=0.9,                # of the batch statistics and of the generator's moving average
          generator_rate=1e-2,      # learning rates
          discriminator_rate=2e-2,
      ),
  )


def check(config: ConfigDict, devices: int) -> None:
  """Any side and any channels will do."""


def reads(config: ConfigDict) -> ElementSpec:
  side, channels = config.data.side, config.data.channels
  return {"image": Element((side, side, channels), "float32", "image", (-1.0, 1.0))}


METHOD = Description(
    defaults=defaults,
    rules={
        "toy_gan.width": at_least(1),
        "toy_gan.noise": at_least(1),
        "toy_gan.decay": fraction(),
        "toy_gan.generator_rate": above(0),
        "toy_gan.discriminator_rate": above(0),
    },
    variants={},
    check=check,
    reads=reads,
    create=create,
)
