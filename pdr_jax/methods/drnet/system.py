"""DrNET (Denton and Birodkar, NIPS 2017, arXiv 1705.10915): content and pose of the frames of a clip.

The content of one frame with the pose of another is decoded to the other frame. Contents of a clip's frames
should be alike, and a discriminator, which learns to tell whether two poses are of one clip, should not be
able to: what a pose says of the clip is then nothing but where things are. Every step is one of the
discriminator and then one of the three others. Equations: specification, section 2.
"""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.losses.photometric import RECONSTRUCTIONS
from pdr_jax.methods.contract import MODEL_STATE, Method, TrainState, inference_variables
from pdr_jax.methods.drnet import discriminator, networks, sampling
from pdr_jax.methods.drnet.baselines import baselines, scored
from pdr_jax.methods.drnet.sampling import Frames, take
from pdr_jax.methods.shared import gradient_step, optimizer
from pdr_jax.networks.batch_norm import RUNNING, Norm

STATE = "statistics"  # the running statistics of the networks in the model state
SHOWN = 6  # poses in the grid of `pictures`


def create(config: ConfigDict) -> Method:
  """The method `drnet`."""
  nets, tx = networks.create(config), optimizer.create(config)
  bound = dict(nets=nets, config=config)
  return Method(
      init=partial(init, tx=tx, **bound),
      update=partial(update, tx=tx, **bound),
      validate=partial(validate, **bound),
      gradient_norms=partial(gradient_norms, **bound),
      encode=partial(encode, **bound),
      swap=partial(swap, **bound) if config.drnet.content_size else None,
      pictures=partial(pictures, **bound),
      baselines=baselines,
  )


def init(
  rng: Array, batch: dict, *, nets: dict, tx: optax.GradientTransformation, config: ConfigDict
) -> TrainState:
  """Fresh networks, each with an optimiser of its own."""
  params, statistics = networks.init(rng, nets, config)
  averaged = {name: params[name] for name in statistics}
  return TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      opt_state={name: tx.init(tree) for name, tree in params.items()},
      model_state={STATE: statistics},
      ema=jax.tree.map(jnp.array, averaged) if config.optim.ema else None,
  )


# ---------------------------------------------------------------- networks


def content_of(
  params: dict, statistics: dict, images: Float[ArrayLike, "B S S C"], norm: Norm, nets: dict,
  config: ConfigDict,
) -> tuple[Float[Array, "B D"] | None, list[Array], dict]:
  """Content vectors, the maps for the decoder's skips, and the statistics after it.

  An auto-encoder has no content: None.
  """
  if "content" not in nets:
    return None, [], statistics
  (vector, maps), changed = networks.apply(
    nets["content"], params["content"], statistics["content"], images, norm=norm, remat=config.train.remat
  )
  return vector, maps if config.drnet.skips else [], statistics | {"content": changed}


def pose_of(
  params: dict, statistics: dict, images: Float[ArrayLike, "B S S C"], norm: Norm, nets: dict,
  config: ConfigDict,
) -> tuple[Float[Array, "B P"], dict]:
  """Pose vectors, and the statistics after it."""
  (vector, _), changed = networks.apply(
    nets["pose"], params["pose"], statistics["pose"], images, norm=norm, remat=config.train.remat
  )
  return vector, statistics | {"pose": changed}


def decode(
  params: dict, statistics: dict, content: Float[ArrayLike, "B D"] | None, skips: list[Array],
  pose: Float[ArrayLike, "B P"], norm: Norm, nets: dict, config: ConfigDict,
) -> tuple[Float[Array, "B S S C"], dict]:
  """The logits of pictures in (0, 1) of contents in poses, and the statistics after it."""
  logits, changed = networks.apply(
    nets["decoder"], params["decoder"], statistics["decoder"], networks.concatenated(content, pose), skips,
    norm=norm, remat=config.train.remat,
  )
  return logits, statistics | {"decoder": changed}


# ---------------------------------------------------------------- losses


def similarity_loss(content: Float[ArrayLike, "B D"], other: Float[ArrayLike, "B D"]) -> Float[Array, ""]:
  """The mean squared difference of the contents of two frames; the second one is a target, without gradient.
  """
  return jnp.square(content - jax.lax.stop_gradient(other)).mean()


def term_weights(config: ConfigDict) -> dict[str, float]:
  """The weight of every loss term of encoders and decoder; those of weight 0 are only shown."""
  drnet = config.drnet
  similarity = {"similarity": drnet.similarity_weight} if drnet.content_size else {}
  return {"reconstruction": 1.0, **similarity, "adversary": drnet.adversary_weight}


def terms_of_pose(
  params: dict, pose: Float[ArrayLike, "B P"], partner: Float[ArrayLike, "B P"], judge: dict,
  statistics: dict, clips: Float[ArrayLike, "B T S S C"], frames: Frames, norm: Norm, nets: dict,
  config: ConfigDict,
) -> tuple[dict[str, Array], dict]:
  """Every term, unweighted, given the poses of target and partner; and the statistics after it.

  `params` are those of content encoder and decoder, `judge` those of the discriminator.
  """
  content, skips, statistics = content_of(
    params, statistics, take(clips, frames.content), norm, nets, config
  )
  decoded, statistics = decode(params, statistics, content, skips, pose, norm, nets, config)
  compare = RECONSTRUCTIONS[config.drnet.reconstruction]
  terms = {
      "reconstruction": compare(decoded, take(clips, frames.target)).mean(),
      "adversary": discriminator.adversary_loss(judge, pose, partner, nets),
  }
  if content is not None:
    other, _, statistics = content_of(
      params, statistics, take(clips, frames.similar), norm, nets, config
    )
    terms["similarity"] = similarity_loss(content, other)
  return terms, statistics


# ---------------------------------------------------------------- training


def update(
    state: TrainState, batch: dict, rng: Array, axis_name: str | None, *, nets: dict,
    tx: optax.GradientTransformation, config: ConfigDict
) -> tuple[TrainState, dict]:
  """A step of the discriminator, then one of the encoders and the decoder against it."""
  clips, count, norm = batch["clip"], batch["clip"].shape[0], Norm(True, axis_name)
  frames = draw_frames(rng, count, axis_name, config)
  embed = partial(pose_of, norm=norm, nets=nets, config=config)
  statistics, params = state.model_state[STATE], state.params

  # ---- the discriminator; the target's pose is computed once, for both steps
  if config.drnet.fresh_pairs:
    first, statistics = embed(params, statistics, take(clips, frames.pair[0]))
    second, statistics = embed(params, statistics, take(clips, frames.pair[1]))

  def of_target(tree):
    return embed({"pose": tree}, statistics, take(clips, frames.target))

  pose, pull, statistics = jax.vjp(of_target, params["pose"], has_aux=True)
  partner, statistics = embed(params, statistics, take(clips, frames.partner))
  if not config.drnet.fresh_pairs:
    first, second = pose, partner
  given = discriminator.pairs(first, second, jax.random.fold_in(rng, 1), axis_name, config)
  judge = jax.value_and_grad(partial(discriminator.loss, nets=nets), has_aux=True)
  (_, shown), grads = judge(params["discriminator"], given)
  grads = {"discriminator": gradient_step.mean_over(grads, axis_name)}
  new = descend(state, grads, tx)

  # ---- the others
  weights = term_weights(config)

  def objective(tree, pose):
    terms, changed = terms_of_pose(
      tree, pose, partner, new.params["discriminator"], statistics, clips, frames, norm, nets, config
    )
    return sum(weight * terms[name] for name, weight in weights.items()), (terms, changed)

  rest = {name: params[name] for name in ("content", "decoder") if name in params}
  run = jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)
  (loss, (terms, statistics)), (others, of_pose) = run(rest, pose)
  others["pose"] = pull(of_pose)[0]
  others = gradient_step.mean_over(others, axis_name)
  new = descend(new, others, tx)
  if config.optim.ema:
    averaged = {name: new.params[name] for name in state.ema}
    new = new.replace(ema=optax.incremental_update(averaged, state.ema, 1 - config.optim.ema))
  metrics = gradient_step.as_metrics({"loss": loss, **terms, **shown}, others | grads, count, axis_name)
  return new.replace(step=state.step + 1, model_state={STATE: statistics}), metrics


def draw_frames(rng: Array, count: int, axis_name: str | None, config: ConfigDict) -> Frames:
  """The frames of this device's clips in a step."""
  return sampling.draw(jax.random.fold_in(rng, 0), gradient_step.global_index(count, axis_name), config)


def descend(state: TrainState, grads: dict, tx: optax.GradientTransformation) -> TrainState:
  """A step of the optimisers of these networks."""
  params, opt_state = dict(state.params), dict(state.opt_state)
  for name, tree in grads.items():
    changes, opt_state[name] = tx.update(tree, opt_state[name], params[name])
    params[name] = optax.apply_updates(params[name], changes)
  return state.replace(params=params, opt_state=opt_state)


def gradient_norms(
  state: TrainState, batch: dict, rng: Array, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> dict:
  """The norm of each weighted term's gradient for encoders and decoder, the discriminator as it is."""
  clips, norm = batch["clip"], Norm(True, axis_name)
  frames = draw_frames(rng, clips.shape[0], axis_name, config)
  statistics = state.model_state[STATE]

  def terms_of(params):
    pose, _ = pose_of(params, statistics, take(clips, frames.target), norm, nets, config)
    partner, _ = pose_of(params, statistics, take(clips, frames.partner), norm, nets, config)
    return terms_of_pose(
      params, pose, partner, params["discriminator"], statistics, clips, frames, norm, nets, config
    )

  return gradient_step.gradient_norms(state.params, terms_of, term_weights(config), axis_name)


# ---------------------------------------------------------------- evaluation


def validate(
  state: TrainState, batch: dict, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> dict:
  """Scores by the running statistics, with the content of the first frame.

  `val/reconstruction` is the mean squared error of the middle and the last frame, `val/similarity` the mean
  squared difference of the contents of the first and the last, and `val/discriminator_accuracy` that on the
  poses of these two, of one clip and with the clip before it in the global batch.
  """
  clips, variables = batch["clip"], inference_variables(state)
  model = Frozen(variables, nets, config)
  asked, last = scored(clips.shape[1]), clips.shape[1] - 1
  content, skips = model.content(clips[:, 0])
  poses = {t: model.pose(clips[:, t]) for t in sorted({0, *asked})}
  errors = [
    jnp.square(model.decode(content, skips, poses[t]) - clips[:, t]).mean(axis=(1, 2, 3)) for t in asked
  ]
  scores = {"val/reconstruction": sum(errors) / len(errors)}
  if content is not None:
    scores["val/similarity"] = jnp.square(content - model.content(clips[:, last])[0]).mean(axis=-1)
  right, counted = discriminator.accuracy(
    variables["discriminator"], poses[0], poses[last], batch["_mask"], axis_name, nets, config
  )
  judged = gradient_step.masked_totals({"val/discriminator_accuracy": right}, counted, axis_name)
  return gradient_step.masked_totals(scores, batch["_mask"], axis_name) | judged


class Frozen(NamedTuple):
  """The networks by inference variables, which nothing changes."""

  variables: dict
  nets: dict[str, nn.Module]
  config: ConfigDict

  @property
  def statistics(self) -> dict:
    """The running statistics."""
    return self.variables[MODEL_STATE][STATE]

  def content(self, images: Float[ArrayLike, "B S S C"]) -> tuple[Float[Array, "B D"] | None, list[Array]]:
    """Content vectors (None of an auto-encoder) and maps for the skips."""
    return content_of(self.variables, self.statistics, images, RUNNING, self.nets, self.config)[:2]

  def pose(self, images: Float[ArrayLike, "B S S C"]) -> Float[Array, "B P"]:
    """Pose vectors."""
    return pose_of(self.variables, self.statistics, images, RUNNING, self.nets, self.config)[0]

  def poses(self, clips: Float[ArrayLike, "B T S S C"]) -> Float[Array, "B T P"]:
    """Pose vectors of all frames."""
    flat = self.pose(clips.reshape(-1, *clips.shape[2:]))
    return flat.reshape(*clips.shape[:2], flat.shape[-1])

  def decode(
    self, content: Float[ArrayLike, "B D"] | None, skips: list[Array], pose: Float[ArrayLike, "B P"]
  ) -> Float[Array, "B S S C"]:
    """Pictures in (0, 1)."""
    logits, _ = decode(
      self.variables, self.statistics, content, skips, pose, RUNNING, self.nets, self.config
    )
    return nn.sigmoid(logits)


def encode(
  variables: dict, clips: Float[ArrayLike, "B T S S C"], *, nets: dict, config: ConfigDict
) -> dict[str, Float[Array, "B D"]]:
  """`content` of the first frame, and `pose`: the vectors of all frames, one after the other.

  A clip of a single frame gives both of that frame.
  """
  model = Frozen(variables, nets, config)
  content, _ = model.content(clips[:, 0])
  blocks = {} if content is None else {"content": content}
  return blocks | {"pose": model.poses(clips).reshape(clips.shape[0], -1)}


def swap(
  variables: dict, contents: Float[ArrayLike, "B T S S C"], poses: Float[ArrayLike, "B U S S C"], *,
  nets: dict, config: ConfigDict,
) -> Float[Array, "B U S S C"]:
  """The content of the first frame of one clip in the poses of all frames of another."""
  model = Frozen(variables, nets, config)
  content, skips = model.content(contents[:, 0])
  decoded = jax.lax.map(
    lambda frames: model.decode(content, skips, model.pose(frames)), jnp.swapaxes(poses, 0, 1)
  )
  return jnp.swapaxes(decoded, 0, 1)


def pictures(
    variables: dict, clips: Float[ArrayLike, "B T S S C"], *, nets: dict, config: ConfigDict
) -> dict[str, Float[Array, "B S S C"]]:
  """What a sheet shows of clips, in [-1, 1].

  The first frame (`content`), the last frame as it is and as it is decoded from the content of the first; and
  a grid: the content of the row in the poses of the first clip. Of the first row's own clip the grid shows
  the true frames, from which the poses of the columns are. Names are in the order of the sheet, since a
  compiled function sorts them.
  """
  model, clips = Frozen(variables, nets, config), jnp.asarray(clips)
  content, skips = model.content(clips[:, 0])
  shown = {
    "content": clips[:, 0],
    "last frame": clips[:, -1],
    "last, decoded": model.decode(content, skips, model.pose(clips[:, -1])),
  }
  count, last = clips.shape[0], clips.shape[1] - 1
  steps = sorted({round(i * last / (SHOWN - 1)) for i in range(SHOWN)})
  for t in steps:
    pose = jnp.repeat(model.pose(clips[:1, t]), count, axis=0)
    swapped = model.decode(content, skips, pose)
    shown[f"pose of {t:02d}"] = swapped.at[0].set(clips[0, t])
  return {name: 2 * values - 1 for name, values in shown.items()}
