"""`voxels`: a picture's code decodes to a volume, which is turned and projected back to the picture.

Ucar 2019 (arXiv 1911.07937). The loss of a picture is the sum of its squared differences, plus what holds the
code near its prior (`losses.latent`) and what the pose costs (`pose`).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.losses import circular, latent
from pdr_jax.methods.contract import Method, TrainState
from pdr_jax.methods.shared import gradient_step, optimizer
from pdr_jax.methods.voxels import inference, pictures, pose, projection
from pdr_jax.methods.voxels.model import JUDGE, POSE, Code, decoded, encoded, networks, normals, squared, unit
from pdr_jax.networks.voxels import STATISTICS, CodeJudge

COARSE = 2  # components of a circular posterior are compared at half the side
_CODE, _PRIOR, _TURN, _CHOICE, _POSE_STEP, _GAME = range(6)  # names of the random streams of a step


class Optimisers(NamedTuple):
  """`main` of all networks but the judge; `pose` of the free poses alone; `judge`; None where not needed."""

  main: optax.GradientTransformation
  pose: optax.GradientTransformation | None
  judge: optax.GradientTransformation | None


def create(config: ConfigDict) -> Method:
  """The method `voxels`."""
  own = config.voxels
  rate = config.optim.learning_rate
  free, game = own.pose == "free" and own.pose_step, own.pose == "adversarial"
  optimisers = Optimisers(
    main=optax.chain(optimizer.clip_each(config.optim.clip_each_norm), optimizer.create(config)),
    pose=optax.adam(rate) if free else None,
    judge=optax.adam(own.judge_rate, b1=own.judge_b1) if game else None,
  )
  words = dict(config=config)
  decomposed = partial(inference.decompose, **words)
  return Method(
    init=partial(init, optimisers=optimisers, **words),
    update=partial(update, optimisers=optimisers, **words),
    validate=partial(inference.validate, **words),
    gradient_norms=partial(gradient_norms, **words),
    encode=partial(inference.encode, **words),
    decompose=decomposed,
    generate=partial(inference.generate, **words),
    pictures=partial(pictures.pictures, decompose=decomposed, volumes=partial(inference.volumes, **words)),
  )


def init(rng: Array, batch: dict, *, optimisers: Optimisers, config: ConfigDict) -> TrainState:
  """Fresh parameters; each network draws from its own stream."""
  own, side = config.voxels, config.data.side
  codes, pictures = jnp.zeros((1, own.code)), jnp.zeros((1, side, side, config.data.channels))
  inputs = {
    "encoder": (pictures, False),
    "decoder": (codes, False),
    "texture": (pictures[..., 0],),
    JUDGE: (codes, jnp.zeros((1, 2))),
  }
  params, statistics = {}, {}
  for i, (name, net) in enumerate(networks(config).items()):
    variables = net.init(jax.random.fold_in(rng, i), *inputs[name])
    params[name] = variables["params"]
    if STATISTICS in variables:
      statistics[name] = variables[STATISTICS]
  if own.pose == "free":
    params[POSE] = pose.init_free(jax.random.fold_in(rng, len(inputs)), config.train.batch_size)
  opt_state = {gradient_step.MAIN: optimisers.main.init(trained(params))}
  if optimisers.pose is not None:
    opt_state[POSE] = optimisers.pose.init(params[POSE]["slots"])
  if optimisers.judge is not None:
    opt_state[JUDGE] = optimisers.judge.init(params[JUDGE])
  ema = jax.tree.map(jnp.array, trained(params)) if config.optim.ema else None
  step = jnp.zeros((), jnp.int32)
  return TrainState(step, params, opt_state, model_state={"statistics": statistics}, ema=ema)


def trained(params: dict) -> dict:
  """The parameters of the main optimiser: all but the judge's."""
  return {name: tree for name, tree in params.items() if name != JUDGE}


# ---------------------------------------------------------------- training


def term_weights(config: ConfigDict) -> dict[str, float]:
  """The weight of every loss term."""
  own = config.voxels
  weights = {"reconstruction": 1.0, "pose": own.pose_weight}
  weights |= {"code": own.beta} if own.regulariser != "none" else {}
  return weights | ({"texture": 1.0} if own.texture else {})


class Seen(NamedTuple):
  """What a step's forward pass leaves behind: statistics, codes with directions, numbers for the log."""

  statistics: dict
  codes: Float[Array, "B D"]
  directions: Float[Array, "B 2"]
  shown: dict


def loss_terms(
  params: dict, judge: dict | None, state: TrainState, batch: dict, rng: Array, axis_name: str | None, *,
  config: ConfigDict, turn: int = _TURN,
) -> tuple[dict, Seen]:
  """Every term's mean over the global batch, unweighted. `turn` names the stream of the pose's noise."""
  own, nets = config.voxels, networks(config, axis_name)
  statistics, images = state.model_state["statistics"], batch["image"]
  index = gradient_step.global_index(images.shape[0], axis_name)
  code, of_encoder = encoded(nets, params, statistics, images, True, config)
  noise = normals(jax.random.fold_in(rng, _CODE), index, code.mean.shape[1:])
  z = code.mean + noise * jnp.exp(code.log_variance / 2)
  logits, of_decoder = decoded(nets, params, statistics, z, True, config)
  absorbed, target = projection.absorption(logits, own.absorption), unit(images)[..., 0]
  keys = {name: jax.random.fold_in(rng, name) for name in (turn, _CHOICE, _PRIOR)}
  azimuth, expected, cost = pose_of(params, judge, code, z, absorbed, target, index, keys, turn, config)
  projected = projection.project(absorbed, azimuth, own.elevation)
  errors = squared(projected, target)
  # The expectation over the components in value, that of the drawn one in gradient.
  errors = errors if expected is None else expected + errors - jax.lax.stop_gradient(errors)
  terms = {"reconstruction": errors.mean(), "pose": cost}
  prior = normals(keys[_PRIOR], index, z.shape[1:])
  code_term = regulariser(code, z, prior, axis_name, config)
  terms |= {} if code_term is None else {"code": code_term}
  if own.texture:
    textured = nets["texture"].apply({"params": params["texture"]}, projected)
    terms["texture"] = squared(textured, target).mean()
  shown = {"kl": latent.kl_to_normal(code.mean, code.log_variance).mean()}
  shown["occupied"] = occupied(projection.density(logits))
  directions = jnp.stack([jnp.cos(azimuth), jnp.sin(azimuth)], axis=-1)
  return terms, Seen({"encoder": of_encoder, "decoder": of_decoder}, z, directions, shown)


def occupied(density: Float[ArrayLike, "B S S S"]) -> Float[Array, ""]:
  """The mean share of voxels of a density above a half."""
  return (density > 0.5).astype(jnp.float32).mean()


def regulariser(
  code: Code, z: ArrayLike, prior: ArrayLike, axis_name: str | None, config: ConfigDict
) -> Float[Array, ""] | None:
  """What holds the codes near the unit Gaussian, unweighted; None where nothing does."""
  kind = config.voxels.regulariser
  if kind == "none":
    return None
  if kind == "mmd":
    return latent.mmd(z, prior, axis_name)
  if kind == "kl":
    return latent.kl_to_normal(code.mean, code.log_variance).mean()
  term = latent.mu_vae if kind == "mu_vae" else latent.mu_vae_per_dimension
  return term(code.mean, code.log_variance, axis_name)


def pose_of(
  params: dict, judge: dict | None, code: Code, z: ArrayLike, absorbed: ArrayLike, target: ArrayLike,
  index: ArrayLike, keys: dict, turn: int, config: ConfigDict,
) -> tuple[Array, Array | None, Array]:
  """Azimuths to render, the error that a posterior expects (None: that of the azimuth), and the pose's term.
  """
  own = config.voxels
  if own.pose == "free":
    return pose.draw_free(params[POSE], keys[turn], index), None, pose.free_term(params[POSE])
  if own.pose == "adversarial":
    angle = pose.angle_of(pose.direction(code.pose))
    angle = angle + own.pose_noise * normals(keys[turn], index, ())
    seen = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    logits = CodeJudge(own.judge_width).apply({"params": judge}, z, seen)
    return angle, None, optax.sigmoid_binary_cross_entropy(logits, jnp.ones_like(logits)).mean()
  posterior = pose.posterior_of(code.pose, own.pose_components)
  draws = posterior.mean + posterior.std * normals(keys[turn], index, (own.pose_components,))
  cost = circular.kl_to_uniform(*posterior).mean()
  if own.pose_components == 1:
    return draws[:, 0], None, cost
  each = jax.lax.stop_gradient(coarse_errors(absorbed, draws, target, own.elevation))
  expected = (jax.nn.softmax(posterior.logits) * each).sum(axis=-1)
  gumbel = jax.vmap(
    lambda i: jax.random.gumbel(jax.random.fold_in(keys[_CHOICE], i), (own.pose_components,))
  )(index)
  chosen = jnp.argmax(jax.lax.stop_gradient(posterior.logits) + gumbel, axis=-1)
  return jnp.take_along_axis(draws, chosen[:, None], axis=1)[:, 0], expected, cost


def coarse_errors(
  absorbed: Float[ArrayLike, "B S S S"], azimuth: Float[ArrayLike, "B K"], target: Float[ArrayLike, "B S S"],
  elevation: float,
) -> Float[Array, "B K"]:
  """`squared` of K azimuths, estimated at half the side: for comparing azimuths, at an eighth of the cost."""
  batch, side = absorbed.shape[0], absorbed.shape[1] // COARSE
  blocks = absorbed.reshape(batch, side, COARSE, side, COARSE, side, COARSE).mean(axis=(2, 4, 6)) * COARSE
  pixels = target.reshape(batch, side, COARSE, side, COARSE).mean(axis=(2, 4))
  projected = projection.project_many(blocks, azimuth, elevation)
  return squared(projected, pixels[:, None]) * COARSE**2


def update(
  state: TrainState, batch: dict, rng: Array, axis_name: str | None, *, optimisers: Optimisers,
  config: ConfigDict,
) -> tuple[TrainState, dict]:
  """A step of the pose's own variables (free poses), then of all networks, and of the judge (the game)."""
  weights, count = term_weights(config), batch["image"].shape[0]
  params, opt_state = state.params, dict(state.opt_state)
  judge = params.get(JUDGE)
  terms_of = partial(
    loss_terms, judge=judge, state=state, batch=batch, rng=rng, axis_name=axis_name, config=config
  )
  if optimisers.pose is not None:

    def alone(slots):
      return terms_of(params | {POSE: params[POSE] | {"slots": slots}}, turn=_POSE_STEP)

    grads, _, _ = gradient_step.gradients(params[POSE]["slots"], alone, weights, axis_name)
    changes, opt_state[POSE] = optimisers.pose.update(grads, opt_state[POSE])
    slots = optax.apply_updates(params[POSE]["slots"], changes)
    params = params | {POSE: params[POSE] | {"slots": slots}}
  grads, terms, seen = gradient_step.gradients(trained(params), terms_of, weights, axis_name)
  changes, opt_state[gradient_step.MAIN] = optimisers.main.update(
    grads, opt_state[gradient_step.MAIN], trained(params)
  )
  new = optax.apply_updates(trained(params), changes)
  shown = dict(seen.shown)
  if optimisers.judge is not None:
    new[JUDGE], opt_state[JUDGE], shown["judge"] = judge_step(
      judge, opt_state[JUDGE], seen, rng, axis_name, optimisers.judge, config
    )
  ema = state.ema
  if config.optim.ema:
    ema = optax.incremental_update(trained(new), state.ema, 1 - config.optim.ema)
  metrics = gradient_step.as_metrics(terms | shown, grads, count, axis_name)
  statistics = {"statistics": seen.statistics}
  after = state.replace(
    step=state.step + 1, params=new, opt_state=opt_state, model_state=statistics, ema=ema
  )
  return after, metrics


def judge_step(
  judge: dict, opt_state: Any, seen: Seen, rng: Array, axis_name: str | None,
  optimiser: optax.GradientTransformation, config: ConfigDict,
) -> tuple[dict, Any, Array]:
  """One step of the judge: codes and azimuths of pictures against Gaussian codes and even azimuths."""
  codes, directions = jax.lax.stop_gradient((seen.codes, seen.directions))
  index = gradient_step.global_index(codes.shape[0], axis_name)
  key = jax.random.fold_in(rng, _GAME)
  prior = normals(jax.random.fold_in(key, 0), index, codes.shape[1:])
  angle = jax.vmap(
    lambda i: jax.random.uniform(jax.random.fold_in(key, i + 1), (), maxval=circular.TURN)
  )(index)
  even = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)

  def loss(params):
    apply = partial(CodeJudge(config.voxels.judge_width).apply, {"params": params})
    real, fake = apply(prior, even), apply(codes, directions)
    cross_entropy = optax.sigmoid_binary_cross_entropy
    return (cross_entropy(real, jnp.ones_like(real)) + cross_entropy(fake, jnp.zeros_like(fake))).mean() / 2

  value, grads = jax.value_and_grad(loss)(judge)
  changes, opt_state = optimiser.update(gradient_step.mean_over(grads, axis_name), opt_state)
  return optax.apply_updates(judge, changes), opt_state, value


def gradient_norms(
  state: TrainState, batch: dict, rng: Array, axis_name: str | None, *, config: ConfigDict
) -> dict:
  """The norm of each weighted term's gradient (see `gradient_step.gradient_norms`)."""
  judge = state.params.get(JUDGE)
  words = dict(judge=judge, state=state, batch=batch, rng=rng, axis_name=axis_name, config=config)
  terms_of = partial(loss_terms, **words)
  return gradient_step.gradient_norms(trained(state.params), terms_of, term_weights(config), axis_name)


