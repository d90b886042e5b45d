"""PrGAN (Gadelha et al. 2017, arXiv 1612.05872): shapes from silhouettes by a game of pictures.

A generator makes volumes of noise; projected from one of eight azimuths, or from above, they shall look like
the data to a judge of pictures. The generator, its projection and its volumes are those of `voxels`. Settings
are those of the released code: the judge learns only while it is right on at most `ceiling` of the pictures,
and every step of the generator is followed by one that matches mean and variance of the judge's first layer.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int
from ml_collections import ConfigDict

from pdr_jax.methods.contract import MODEL_STATE, Description, Method, TrainState, inference_variables
from pdr_jax.methods.shared import gradient_step
from pdr_jax.methods.voxels import projection, settings
from pdr_jax.methods.voxels.model import apply
from pdr_jax.methods.voxels.pictures import AZIMUTHS
from pdr_jax.networks.voxels import STATISTICS, PictureJudge, VolumeDecoder
from pdr_jax.render import shaded_volume, volume
from pdr_jax.rules import above, at_least, between

NETWORKS = ("generator", "judge")
SIDES_AROUND = 8  # azimuths of 45 degrees; one more view is from above
OPTIM = ("learning_rate", "schedule", "warmup_steps", "b1", "b2", "weight_decay", "clip_norm", "ema")


def create(config: ConfigDict) -> Method:
  """The method `prgan`."""
  own = config.prgan
  optimisers = {name: optax.adam(own[f"{name}_rate"], b1=own.b1) for name in NETWORKS}
  return Method(
    init=partial(init, optimisers=optimisers, config=config),
    update=partial(update, optimisers=optimisers, config=config),
    validate=partial(validate, config=config),
    encode=partial(encode, config=config),
    generate=partial(generate, config=config),
    pictures=partial(pictures, config=config),
  )


def networks(config: ConfigDict, axis_name: str | None = None) -> dict[str, Any]:
  """`generator`, of codes to volumes, and `judge`, of pictures."""
  own = config.prgan
  return {
    "generator": VolumeDecoder(own.width_generator, config.data.side, own.density_start, axis_name),
    "judge": PictureJudge(own.width_judge, axis_name),
  }


def init(rng: Array, batch: dict, *, optimisers: dict, config: ConfigDict) -> TrainState:
  """Fresh parameters; each network draws from its own stream."""
  inputs = {
    "generator": jnp.zeros((1, config.prgan.noise)),
    "judge": jnp.zeros((1, *batch["image"].shape[1:])),
  }
  params, statistics = {}, {}
  for i, (name, net) in enumerate(networks(config).items()):
    variables = net.init(jax.random.fold_in(rng, i), inputs[name], False)
    params[name], statistics[name] = variables["params"], variables[STATISTICS]
  opt_state = {name: optimisers[name].init(params[name]) for name in NETWORKS}
  return TrainState(jnp.zeros((), jnp.int32), params, opt_state, model_state={"statistics": statistics})


# ---------------------------------------------------------------- the model


def codes_and_views(
  rng: Array, index: Int[ArrayLike, " B"], config: ConfigDict
) -> tuple[Float[Array, "B D"], Int[Array, " B"]]:
  """Codes uniform in (-1, 1), and views 0 to 8, of which 8 is from above; a stream for each picture."""

  def of_picture(i):
    code, view = jax.random.split(jax.random.fold_in(rng, i))
    z = jax.random.uniform(code, (config.prgan.noise,), minval=-1.0, maxval=1.0)
    return z, jax.random.randint(view, (), 0, SIDES_AROUND + 1)

  return jax.vmap(of_picture)(index)


def seen(density: Float[ArrayLike, "B S S S"], view: Int[ArrayLike, " B"]) -> Float[Array, "B S S 1"]:
  """The silhouettes in [-1, 1] of volumes from the views of these numbers."""
  angle = jnp.minimum(view, SIDES_AROUND - 1).astype(jnp.float32) * (2 * math.pi / SIDES_AROUND)
  around = projection.project(density, angle)
  from_above = volume.silhouette(jnp.swapaxes(density, 1, 2))  # rays along y; z becomes the rows
  return 2 * jnp.where((view == SIDES_AROUND)[:, None, None], from_above, around)[..., None] - 1


# ---------------------------------------------------------------- training


def moments(features: Float[ArrayLike, "B h w W"], axis_name: str | None) -> Float[Array, "2 h w W"]:
  """Mean and variance of every feature over the global batch."""
  mean = gradient_step.mean_over(features.mean(axis=0), axis_name)
  square = gradient_step.mean_over(jnp.square(features).mean(axis=0), axis_name)
  return jnp.stack([mean, square - jnp.square(mean)])


def update(
  state: TrainState, batch: dict, rng: Array, axis_name: str | None, *, optimisers: dict, config: ConfigDict
) -> tuple[TrainState, dict]:
  """A step of the judge, where it may learn; one of the generator in the game; one on the features' moments.
  """
  nets, statistics = networks(config, axis_name), state.model_state["statistics"]
  real, count = batch["image"], batch["image"].shape[0]
  index = gradient_step.global_index(count, axis_name)
  cross_entropy = optax.sigmoid_binary_cross_entropy

  def fake(generator, number):
    codes, views = codes_and_views(jax.random.fold_in(rng, number), index, config)
    logits, after = apply(nets["generator"], generator, statistics["generator"], codes, True, config)
    return seen(projection.density(logits), views), after

  def judged(judge, pictures):
    return apply(nets["judge"], judge, statistics["judge"], pictures, True, config)

  def judge_loss(judge):
    (of_real, _, _), after = judged(judge, real)
    (of_fake, _, _), _ = judged(judge, jax.lax.stop_gradient(fake(state.params["generator"], 0)[0]))
    right = (jnp.mean(of_real > 0) + jnp.mean(of_fake < 0)) / 2
    loss = cross_entropy(of_real, jnp.ones_like(of_real)) + cross_entropy(of_fake, jnp.zeros_like(of_fake))
    return loss.mean() / 2, (right, after)

  def game_loss(generator):
    pictures, after = fake(generator, 0)
    (logits, _, _), _ = judged(state.params["judge"], pictures)
    return cross_entropy(logits, jnp.ones_like(logits)).mean(), after

  def feature_loss(generator):
    (_, of_fake, _), _ = judged(state.params["judge"], fake(generator, 1)[0])
    (_, of_real, _), _ = judged(state.params["judge"], real)
    return jnp.square(moments(of_fake, axis_name) - moments(of_real, axis_name)).sum(axis=0).mean()

  (loss_j, (right, judge_statistics)), grads_j = jax.value_and_grad(judge_loss, has_aux=True)(
    state.params["judge"]
  )
  right, grads_j = gradient_step.mean_over((right, grads_j), axis_name)
  learns = right <= config.prgan.ceiling
  opt_state, generator = dict(state.opt_state), state.params["generator"]
  changes, judge_state = optimisers["judge"].update(grads_j, opt_state["judge"])
  new_judge = optax.apply_updates(state.params["judge"], changes)
  judge, opt_state["judge"] = jax.tree.map(
    partial(jnp.where, learns), (new_judge, judge_state), (state.params["judge"], opt_state["judge"])
  )
  (loss_g, after), grads_g = jax.value_and_grad(game_loss, has_aux=True)(generator)
  grads_g = gradient_step.mean_over(grads_g, axis_name)
  step = optimisers["generator"].update
  changes, opt_state["generator"] = step(grads_g, opt_state["generator"])
  generator = optax.apply_updates(generator, changes)
  loss_f, grads_f = jax.value_and_grad(feature_loss)(generator)
  changes, opt_state["generator"] = step(gradient_step.mean_over(grads_f, axis_name), opt_state["generator"])
  generator = optax.apply_updates(generator, changes)
  values = {"loss": loss_g + loss_j, "judge": loss_j, "game": loss_g, "features": loss_f, "right": right}
  metrics = gradient_step.as_metrics(values, {"generator": grads_g, "judge": grads_j}, count, axis_name)
  return state.replace(
    step=state.step + 1,
    params={"generator": generator, "judge": judge},
    opt_state=opt_state,
    model_state={"statistics": {"generator": after, "judge": judge_statistics}},
  ), metrics


# ---------------------------------------------------------------- inference


def validate(state: TrainState, batch: dict, axis_name: str | None, *, config: ConfigDict) -> dict:
  """`val/realism`: what share of the data the judge takes for real.

  `val/nearest`: the squared difference, in pixels of [0, 1], of every picture from the nearest of
  `config.prgan.samples` generated ones, the same at every call.
  """
  variables, nets = inference_variables(state), networks(config)
  statistics = variables[MODEL_STATE]["statistics"]
  (logits, _, _), _ = apply(
    nets["judge"], variables["judge"], statistics["judge"], batch["image"], False, config
  )
  samples = generate(variables, jax.random.key(0), config.prgan.samples, config=config)
  flat, made = ((x / 2).reshape(x.shape[0], -1) for x in (batch["image"], samples))
  product = jnp.matmul(flat, made.T, precision=jax.lax.Precision.HIGHEST)
  lengths = [jnp.square(x).sum(axis=1) for x in (flat, made)]
  square = lengths[0][:, None] + lengths[1][None] - 2 * product
  scores = {"val/realism": (logits > 0).astype(jnp.float32), "val/nearest": square.min(axis=1)}
  return gradient_step.masked_totals(scores, batch["_mask"], axis_name)


def encode(
  variables: dict, images: Float[ArrayLike, "B S S 1"], *, config: ConfigDict
) -> dict[str, Float[Array, "B D"]]:
  """`features`: the judge's last map. A generator has no code of a picture."""
  statistics = variables[MODEL_STATE]["statistics"]["judge"]
  (_, _, features), _ = apply(
    networks(config)["judge"], variables["judge"], statistics, images, False, config
  )
  return {"features": features}


def volumes(variables: dict, codes: Float[ArrayLike, "B D"], config: ConfigDict) -> Float[Array, "B S S S"]:
  """The densities of codes."""
  statistics = variables[MODEL_STATE]["statistics"]["generator"]
  logits, _ = apply(
    networks(config)["generator"], variables["generator"], statistics, codes, False, config
  )
  return projection.density(logits)


def generate(variables: dict, rng: Array, count: int, *, config: ConfigDict) -> Float[Array, "B S S 1"]:
  """Silhouettes of new shapes."""
  codes, views = codes_and_views(rng, jnp.arange(count), config)
  return seen(volumes(variables, codes, config), views)


def pictures(
  variables: dict, images: Float[ArrayLike, "B S S 1"], *, config: ConfigDict
) -> dict[str, Float[Array, "B h w C"]]:
  """New shapes, the same at every call: `sample`, and the volume as a lit surface from eight sides."""
  codes, views = codes_and_views(jax.random.key(0), jnp.arange(images.shape[0]), config)
  density = volumes(variables, codes, config)
  columns = {"sample": seen(density, views)}
  for degrees in AZIMUTHS:
    angle = jnp.full((images.shape[0],), math.radians(degrees))
    columns[f"turned_{degrees:03d}"] = 2 * shaded_volume.shade(density, angle)[..., None] - 1
  return columns


# ---------------------------------------------------------------- configuration


def defaults() -> dict[str, dict[str, Any]]:
  return dict(
      data=dict(name="solids", side=64, channels=1),
      train=dict(best_metric="val/nearest"),
      prgan=dict(
          noise=200,              # numbers of a code
          width_generator=128,    # channels of the generator's first volume
          width_judge=128,        # channels of the judge's first stage; doubled three times
          density_start=0.0,      # logit of the densities at the start
          generator_rate=2.5e-3,  # learning rates
          judge_rate=1e-4,
          b1=0.5,                 # Adam's decay of the first moment
          ceiling=0.8,            # the judge learns while it is right on at most so many pictures
          samples=256,            # generated pictures that validation compares with
      ),
  )


METHOD = Description(
    defaults=defaults,
    rules={
        "prgan.noise": at_least(1),
        "prgan.width_generator": at_least(1),
        "prgan.width_judge": at_least(1),
        "prgan.density_start": between(-20, 20),
        "prgan.generator_rate": above(0),
        "prgan.judge_rate": above(0),
        "prgan.b1": between(0, 0.999),
        "prgan.ceiling": between(0, 1),
        "prgan.samples": at_least(1),
    },
    variants={},
    check=lambda config, devices: settings.check_pictures(config),
    reads=settings.reads,
    create=create,
    unread={
        f"optim.{key}": "its optimisers read config.prgan.generator_rate, config.prgan.judge_rate and"
                        " config.prgan.b1 alone"
        for key in OPTIM
    },
)
