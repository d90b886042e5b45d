"""SSV (Mustikovela et al., CVPR 2020, arXiv 2004.01793): viewpoint of objects in pictures without labels.

One network makes pictures of style codes and viewpoints, by turning a volume; another one finds codes and
viewpoints in pictures, and is the critic that the first one has to please. Every step is one of the viewpoint
network, the other fixed, and then one of the synthesis network. Equations: specification, section 1.5.
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.losses import adversarial, angles
from pdr_jax.losses.feature_similarity import cosine_distance, smooth_l1
from pdr_jax.methods.contract import Method, TrainState
from pdr_jax.methods.shared import gradient_step, optimizer
from pdr_jax.methods.ssv import inference, model
from pdr_jax.methods.ssv.model import Drawn, Features, draw, likeliest_view, see, synthesize

DECAY = 0.9  # of the running deviation that stands for a batch's at inference
# Random streams of a step.
_FAKE, _MIX, _FIRST, _SECOND, _SHADE, _DROPOUT = range(6)


def create(config: ConfigDict) -> Method:
  """The method `ssv`."""
  optimisers = {
    "viewpoint": optimizer.create(config),
    "synthesis": optimizer.create(config, {"mapping": config.ssv.mapping_rate}),
  }
  return Method(
      init=partial(init, optimisers=optimisers, config=config),
      update=partial(
        update, optimisers=optimisers, features=model.fixed_features(config), config=config
      ),
      validate=partial(inference.validate, config=config),
      encode=partial(inference.encode, config=config),
      decompose=partial(inference.decompose, config=config),
      turn=partial(inference.turn, config=config),
      generate=partial(inference.generate, config=config),
      pictures=partial(inference.pictures, config=config),
  )


def init(rng: Array, batch: dict, *, optimisers: dict, config: ConfigDict) -> TrainState:
  """Fresh networks, each with an optimiser of its own; the synthesis network with a moving average."""
  params = model.init(rng, config)
  average = {"synthesis": jax.tree.map(jnp.array, params["synthesis"])}
  return TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      opt_state={name: optimisers[name].init(params[name]) for name in model.NETWORKS},
      model_state={"deviation": jnp.ones(())},
      ema=average if config.optim.ema else None,
  )


def update(
  state: TrainState, batch: dict, rng: Array, axis_name: str | None, *, optimisers: dict,
  features: Features | None, config: ConfigDict,
) -> tuple[TrainState, dict]:
  """A step of the viewpoint network and critic, then one of the synthesis network against it."""
  count = batch["image"].shape[0]
  params, opt_state, terms, grads = dict(state.params), dict(state.opt_state), {}, {}
  objectives = {
    "viewpoint": (partial(viewpoint_terms, features=features), viewpoint_weights(config)),
    "synthesis": (synthesis_terms, synthesis_weights(config)),
  }
  for name, (terms_of, weights) in objectives.items():
    other = params["synthesis" if name == "viewpoint" else "viewpoint"]
    terms_of = partial(
      terms_of, other=other, images=batch["image"], rng=rng, axis_name=axis_name, config=config
    )
    grads[name], of_network, shown = gradient_step.gradients(params[name], terms_of, weights, axis_name)
    terms |= {(f"loss_{name}" if key == "loss" else key): value for key, value in of_network.items()} | shown
    changes, opt_state[name] = optimisers[name].update(grads[name], opt_state[name], params[name])
    params[name] = optax.apply_updates(params[name], changes)
  deviation = gradient_step.mean_over(terms["deviation"], axis_name)
  running = optax.incremental_update({"deviation": deviation}, state.model_state, 1 - DECAY)
  ema = state.ema
  if config.optim.ema:
    ema = optax.incremental_update({"synthesis": params["synthesis"]}, state.ema, 1 - config.optim.ema)
  terms["loss"] = terms["loss_viewpoint"] + terms["loss_synthesis"]
  metrics = gradient_step.as_metrics(terms, grads, count, axis_name)
  return state.replace(
    step=state.step + 1, params=params, opt_state=opt_state, model_state=running, ema=ema
  ), metrics


# ---------------------------------------------------------------- the viewpoint network's step


def viewpoint_weights(config: ConfigDict) -> dict[str, float]:
  """The weight of every term of the viewpoint network."""
  ssv = config.ssv
  return {
    "critic": 1.0,
    "penalty": ssv.penalty_weight,
    "image": ssv.image_weight,
    "flip": ssv.flip_weight,
    "code": ssv.code_weight,
    "view": ssv.view_weight,
  }


def viewpoint_terms(
  params: dict, *, other: dict, images: Float[ArrayLike, "B S S C"], rng: Array, axis_name: str | None,
  features: Features | None, config: ConfigDict,
) -> tuple[dict[str, Array], dict[str, Array]]:
  """Every term of the viewpoint network, unweighted, and numbers for the log.

  `other` are the parameters of the synthesis network, which get no gradient. The gradient penalty is taken
  without dropout.
  """
  index = gradient_step.global_index(images.shape[0], axis_name)
  drawn = draw(jax.random.fold_in(rng, _FAKE), index, config)
  fake = jax.lax.stop_gradient(synthesize(other, *drawn, config))
  look = partial(see, params, config=config, axis_name=axis_name)
  dropout = [_dropout(rng, i, index, config) for i in range(3)]
  shade = [_shade(rng, i, index, config) for i in range(3)]
  lit, fake_lit = model.shaded(images, shade[0]), model.shaded(fake, shade[2])
  real = look(lit, dropout=dropout[0])
  mirrored = look(model.shaded(images[:, :, ::-1], shade[1]), dropout=dropout[1])
  made = look(fake_lit, dropout=dropout[2])
  mix = model.draw_mix(jax.random.fold_in(rng, _MIX), index)
  terms = {
    "critic": adversarial.critic_loss(real.realism, made.realism, config.ssv.drift),
    "penalty": adversarial.gradient_penalty(lambda x: look(x).realism, lit, fake_lit, mix),
    "flip": angles.mirror_cross_entropy(
      real.magnitudes, real.quadrants, (mirrored.magnitudes, mirrored.quadrants)
    ).sum(axis=-1),
    **found_again(made, drawn),
  }
  if config.ssv.image_weight:
    rebuilt = synthesize(other, real.codes, likeliest_view(real), config)
    compare = features or partial(model.own_features, params, config=config)
    rebuilt = model.shaded(rebuilt, shade[0])
    terms["image"] = cosine_distance(jax.lax.stop_gradient(compare(lit)), compare(rebuilt))
  else:
    terms["image"] = jnp.zeros(())
  shown = {
    "deviation": real.deviation,
    "critic_gap": real.realism.mean() - made.realism.mean(),
    "diversity": inference.diversity(fake, images, axis_name=axis_name),
  }
  return {name: value.mean() for name, value in terms.items()}, shown


def found_again(seen: model.Seen, drawn: Drawn) -> dict[str, Float[Array, " B"]]:
  """How well codes and angles of generated pictures are seen in them."""
  return {
    "code": jnp.square(seen.codes - drawn.codes).mean(axis=-1),
    "view": angles.cross_entropy(seen.magnitudes, seen.quadrants, drawn.angles).sum(axis=-1),
  }


def _dropout(rng: Array, number: int, index: Array, config: ConfigDict) -> Float[Array, "B 3 H"] | None:
  """What a pass through the viewpoint network leaves out."""
  if not config.ssv.dropout:
    return None
  return model.draw_dropout(jax.random.fold_in(rng, _DROPOUT + number), index, config)


def _shade(rng: Array, number: int, index: Array, config: ConfigDict) -> Float[Array, "B 2"] | None:
  """What the pictures of a pass through the viewpoint network are shaded with."""
  if not config.ssv.shade:
    return None
  return model.draw_shade(jax.random.fold_in(jax.random.fold_in(rng, _SHADE), number), index, config)


# ---------------------------------------------------------------- the synthesis network's step


def synthesis_weights(config: ConfigDict) -> dict[str, float]:
  """The weight of every term of the synthesis network."""
  ssv = config.ssv
  return {
    "realism": 1.0,
    "paired_code": ssv.code_weight,
    "paired_view": ssv.view_weight,
    "mirror": ssv.mirror_weight,
  }


def synthesis_terms(
  params: dict, *, other: dict, images: Float[ArrayLike, "B S S C"], rng: Array, axis_name: str | None,
  config: ConfigDict,
) -> tuple[dict[str, Array], dict[str, Array]]:
  """Every term of the synthesis network, unweighted.

  Of the generated pictures, thirds share their style with another third, or their viewpoint. `other` are the
  parameters of the viewpoint network, which get no gradient.
  """
  count = images.shape[0]
  index = gradient_step.global_index(count, axis_name)
  first, second = (draw(jax.random.fold_in(rng, key), index, config) for key in (_FIRST, _SECOND))
  drawn = Drawn(
    jnp.concatenate([first.codes, first.codes, second.codes]),
    jnp.concatenate([first.angles, second.angles, first.angles]),
  )
  views, groups = drawn.angles, (0, 0, 1)
  if config.ssv.mirror_weight:
    views, groups = jnp.concatenate([views, angles.mirrored(first.angles)]), (0, 0, 1, 0)
  codes = jnp.concatenate([first.codes, second.codes])
  pictures = synthesize(params, codes, views, config, groups)
  dropout = [_dropout(rng, i, index, config) for i in (3, 4, 5)]
  dropout = None if dropout[0] is None else jnp.concatenate(dropout)
  shade = [_shade(rng, i, index, config) for i in (3, 4, 5)]
  shade = None if shade[0] is None else jnp.concatenate(shade)
  lit = model.shaded(pictures[: 3 * count], shade)
  seen = see(other, lit, config, axis_name, dropout=dropout)
  found = found_again(seen, drawn)
  terms = {"realism": -seen.realism, "paired_code": found["code"], "paired_view": found["view"]}
  if config.ssv.mirror_weight:
    target = jax.lax.stop_gradient(pictures[:count, :, ::-1])
    terms["mirror"] = smooth_l1(target, pictures[3 * count :])
  else:
    terms["mirror"] = jnp.zeros(())
  return {name: value.mean() for name, value in terms.items()}, {}
