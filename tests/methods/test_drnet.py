"""DrNET's step: against PyTorch's, its three stop-gradients, its draws, devices, padding and limits."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import toy_data
from support.method_checks import changed, two_and_two_are_four
from support.programs import compiled

from pdr_jax import config as config_lib
from pdr_jax import methods
from pdr_jax.config_checks import validate
from pdr_jax.errors import UserError
from pdr_jax.methods import inference_variables
from pdr_jax.methods.drnet import discriminator, networks, sampling, system
from pdr_jax.methods.drnet.baselines import baselines
from pdr_jax.networks.batch_norm import Norm
from pdr_jax.networks.blocks import Vector
from pdr_jax.training import step as steps

BATCH, FRAMES = 8, 4


def tiny(**drnet):
  config = config_lib.base("drnet")
  config.data.update(side=16, channels=1, frames=FRAMES)
  config.drnet.update(width=4, content_size=6, pose_size=3, discriminator_width=5)
  config.drnet.update(drnet)
  config.train.update(batch_size=BATCH, steps=4)
  validate(config, 4)
  return config


CONFIG = tiny()
SPEC = methods.describe("drnet").reads(CONFIG)


@pytest.fixture(scope="module")
def start():
  method, batch = methods.create(CONFIG), toy_data.batch(SPEC, BATCH, 0)
  return method, compiled(method.init)(jax.random.key(0), batch), batch


@pytest.fixture(scope="module")
def update(start):
  return compiled(partial(start[0].update, axis_name=None))


@pytest.mark.slow
def test_the_step_is_pytorchs(start, update):
  """Losses, the optimisers' first steps and running statistics, from the same weights and draws."""
  torch = pytest.importorskip("torch")
  from support import drnet_reference

  from pdr_jax.imports import drnet_networks

  _, state, batch = start
  nets = drnet_reference.networks(CONFIG)

  def variables():
    dicts = {name: {k: v.numpy().copy() for k, v in net.state_dict().items()} for name, net in nets.items()}
    return drnet_networks.variables_of(dicts, CONFIG)

  before, rng = variables(), jax.random.key(5)
  params = {name: before[name] for name in state.params}
  ours, metrics = update(state.replace(params=params, model_state=before["model_state"]), batch, rng)
  frames = sampling.draw(jax.random.fold_in(rng, 0), jnp.arange(BATCH), CONFIG)
  shift = int(jax.random.randint(jax.random.fold_in(rng, 1), (), 1, BATCH))
  drawn = {name: value for name, value in frames._asdict().items() if name != "pair"}
  named = {name: torch.from_numpy(np.array(value)) for name, value in drawn.items()}
  partners = torch.from_numpy((np.arange(BATCH) + shift) % BATCH)
  clips = torch.from_numpy(np.moveaxis(batch["clip"], -1, 2).copy())
  optimisers = drnet_reference.optimisers(nets, CONFIG.optim.learning_rate)
  losses = drnet_reference.step(nets, optimisers, clips, named, partners, CONFIG)
  for name, value in losses.items():
    total, count = metrics[name]
    np.testing.assert_allclose(total / count, value, rtol=0, atol=1e-4, err_msg=name)  # the bound
  after = variables()
  near = partial(np.testing.assert_allclose, rtol=0, atol=1e-4)
  jax.tree.map(near, ours.model_state, after["model_state"])
  moved = False
  for name in state.params:
    leaves = jax.tree_util.tree_leaves_with_path(ours.params[name])
    theirs = zip(jax.tree.leaves(after[name]), jax.tree.leaves(before[name]), strict=True)
    for (path, got), (wanted, old) in zip(leaves, theirs, strict=True):
      if "conv" in str(path) and "bias" in str(path):
        continue  # batch normalisation cancels it: its gradient is rounding, of which Adam makes a full step
      # Adam's first step is the rate times the gradient's sign: of the few gradients near 0 it may differ.
      apart = np.abs(np.asarray(got) - wanted) > 1e-4
      assert apart.mean() < 0.03, (name, path)
      moved = moved or np.abs(np.asarray(wanted) - old).max() > 1e-3
  assert moved


def test_three_stop_gradients(start):
  """The target of the similarity, what the discriminator learns from, and the partner in the adversary."""
  rng = np.random.default_rng(0)
  first, second = (jnp.asarray(rng.normal(size=(BATCH, 3)), jnp.float32) for _ in range(2))
  nets, params = networks.create(CONFIG), start[1].params["discriminator"]

  grads = jax.grad(system.similarity_loss, argnums=(0, 1))(first, second)
  np.testing.assert_allclose(grads[0], 2 * (first - second) / first.size, rtol=1e-5, atol=1e-7)
  assert not grads[1].any()

  def learns(first, second):
    given = discriminator.pairs(first, second, jax.random.key(0), None, CONFIG)
    return discriminator.loss(params, given, nets)[0]

  assert not any(leaf.any() for leaf in jax.grad(learns, argnums=(0, 1))(first, second))

  adversary = partial(discriminator.adversary_loss, nets=nets)
  of_params, pose, partner = jax.grad(adversary, argnums=(0, 1, 2))(params, first, second)
  assert pose.any() and not partner.any() and not any(leaf.any() for leaf in jax.tree.leaves(of_params))


@pytest.mark.slow
def test_pose_vectors_without_batch_normalisation():
  """They have no statistics of their own: what they are of a picture is a function of its last map."""
  config = tiny(normalise_pose=False)
  params, statistics = networks.init(jax.random.key(0), networks.create(config), config)
  assert set(params["pose"]["vector"]["layer"]) == {"kernel", "bias"}
  assert "vector" not in statistics["pose"] and "vector" in statistics["content"]
  vector, rng = Vector(3, 4, unit_length=True, normalise=False), np.random.default_rng(0)
  maps = jnp.asarray(rng.normal(size=(6, 4, 4, 8)), jnp.float32)
  variables = vector.init(jax.random.key(0), maps, Norm(True))
  whole = vector.apply(variables, maps, Norm(True))
  np.testing.assert_allclose(vector.apply(variables, maps[2:4], Norm(True)), whole[2:4], rtol=0, atol=1e-6)
  np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1.0, rtol=1e-5)


@pytest.mark.slow
def test_each_term_reaches_its_networks_alone(start):
  """Reconstruction: encoders and decoder; similarity: the content encoder; adversary: the pose encoder."""
  method, state, batch = start
  nets, frames = networks.create(CONFIG), sampling.draw(jax.random.key(1), jnp.arange(BATCH), CONFIG)

  def terms(params):
    embed = partial(system.pose_of, norm=Norm(True), nets=nets, config=CONFIG)
    statistics, clips = state.model_state["statistics"], batch["clip"]
    pose, _ = embed(params, statistics, sampling.take(clips, frames.target))
    partner, _ = embed(params, statistics, sampling.take(clips, frames.partner))
    return system.terms_of_pose(
      params, pose, partner, params["discriminator"], statistics, clips, frames, Norm(True), nets, CONFIG
    )[0]

  jacobian = compiled(jax.jacrev(terms))(state.params)
  reached = {
    "reconstruction": {"content", "pose", "decoder"}, "similarity": {"content"}, "adversary": {"pose"},
  }
  for term, wanted in reached.items():
    got = {name for name, tree in jacobian[term].items() if any(leaf.any() for leaf in jax.tree.leaves(tree))}
    assert got == wanted, term
  norms = compiled(partial(method.gradient_norms, axis_name=None))(state, batch, jax.random.key(2))
  assert set(norms) == {f"gradient_norm/{term}" for term in reached}


@pytest.mark.slow
def test_four_devices_equal_one(start, update):
  method, state, _ = start
  copies = steps.replicate(state)
  for k in range(2):
    batch = toy_data.batch(SPEC, BATCH, k)
    copies, metrics = steps.update_fn(method)(copies, steps.place(batch), steps.stream(0, "update"))
    state, expected = update(state, batch, steps.stream(0, "update", k))
    for name, (total, count) in expected.items():
      got = metrics.fetch()[name]
      # Batch statistics over 8 clips divide by small deviations; and what follows is sums in another order.
      np.testing.assert_allclose(got[0] / got[1], total / count, rtol=2e-2 if k else 1e-3, err_msg=name)
    if k == 0:
      near = partial(np.testing.assert_allclose, rtol=0, atol=1e-4)
      jax.tree.map(near, jax.device_get(copies.model_state), jax.device_get(state.model_state))


def test_pairs_of_one_clip_and_of_two():
  first = jnp.arange(BATCH, dtype=jnp.float32)[:, None]
  for seed in range(5):
    given = discriminator.pairs(first, first, jax.random.key(seed), None, CONFIG)
    same = np.asarray(given.poses[:, 0] == given.poses[:, 1])
    np.testing.assert_array_equal(same, np.asarray(given.labels) == 1)
    assert same.sum() == BATCH and len(same) == 2 * BATCH
    config = tiny(fresh_pairs=True, same_label=0)
    given = discriminator.pairs(first, first, jax.random.key(seed), None, config)
    same = np.asarray(given.poses[:, 0] == given.poses[:, 1])
    np.testing.assert_array_equal(same, np.asarray(given.labels) == 0)
    np.testing.assert_array_equal(same, np.arange(BATCH) < BATCH // 2)
    np.testing.assert_array_equal(np.sort(given.poses[:, 1]), np.arange(BATCH))  # within its half


def test_draws_of_frames():
  config = tiny(sampling="first", min_offset=2, max_offset=3)
  index = jnp.arange(500)
  frames = sampling.draw(jax.random.key(0), index, config)
  assert not frames.content.any() and set(np.unique(frames.target)) == {2, 3}
  np.testing.assert_array_equal(frames.similar, frames.target)
  assert set(np.unique(frames.partner)) == set(range(FRAMES))
  anywhere = sampling.draw(jax.random.key(0), index, CONFIG)
  for drawn in anywhere[:4]:
    assert set(np.unique(drawn)) == set(range(FRAMES))
  half = sampling.draw(jax.random.key(0), index[250:], CONFIG)
  np.testing.assert_array_equal(half.target, anywhere.target[250:])
  clips = jnp.arange(2 * FRAMES).reshape(2, FRAMES, 1, 1, 1) * jnp.ones((1, 1, 2, 2, 1))
  np.testing.assert_array_equal(sampling.take(clips, jnp.array([1, 3]))[:, 0, 0, 0], [1, FRAMES + 3])


def test_baselines_are_the_first_frame_and_the_mean_one_of_clips_that_count():
  """Frames of 0, 1, 2 and 3, by hand: errors of 1 and 9 of the first, of .25 and 2.25 of the mean, 1.5."""
  clip = np.arange(4.0, dtype=np.float32).reshape(4, 1, 1, 1) * np.ones((4, 2, 2, 1), np.float32)
  batch = {"clip": np.stack([clip, clip, 100 * clip]), "_mask": np.array([1.0, 1.0, 0.0], np.float32)}
  found = baselines([batch, batch], lambda totals: totals)
  assert found == {"first frame": {"val/reconstruction": 5.0}, "mean frame": {"val/reconstruction": 1.25}}


@pytest.mark.slow
def test_validation_ignores_padding_and_encode_takes_any_number_of_frames(start):
  method, state, batch = start
  mask = (np.arange(BATCH) < 5).astype(np.float32)
  validate_ = compiled(partial(method.validate, axis_name=None))
  scores = validate_(state, batch | {"_mask": mask})
  other = batch["clip"].copy()
  other[6:] = 0.25
  again = validate_(state, {"clip": other, "_mask": mask})
  assert set(scores) == {"val/reconstruction", "val/similarity", "val/discriminator_accuracy"}
  for name in scores:  # the clip before the first one is padding: the two are no pair
    assert scores[name][1] == 4 + (name != "val/discriminator_accuracy")
    np.testing.assert_allclose(scores[name][0], again[name][0], rtol=1e-6)
  variables = inference_variables(state)
  blocks = method.encode(variables, batch["clip"])
  assert blocks["content"].shape == (BATCH, 6) and blocks["pose"].shape == (BATCH, 3 * FRAMES)
  single = method.encode(variables, batch["clip"][:, 2:3])
  np.testing.assert_allclose(single["pose"], blocks["pose"].reshape(BATCH, FRAMES, 3)[:, 2], atol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(blocks["content"], axis=1), 1.0, rtol=1e-5)
  shown = method.pictures(variables, batch["clip"])
  assert all(values.shape == (BATCH, 16, 16, 1) for values in shown.values())
  np.testing.assert_allclose(shown["pose of 03"][0], 2 * batch["clip"][0, 3] - 1, atol=1e-6)


def test_pairs_of_validation_are_of_the_global_batch_without_padding():
  """By hand: of clips 0 to 3 with the poses 0, 0, 5 and 9, those within 1 of each other are of one clip.

  All pairs of one clip are right. Of those of two, with the clip before: 0 with 9, 2 with 0 and 3 with 5 are
  right, and 1 with 0 is wrong. Where clip 3 is padding, clip 0 has none before it.
  """
  class Near:
    def apply(self, variables, given):
      return 1.0 - jnp.abs(given[:, 0] - given[:, 1])

  poses, nets = jnp.array([0.0, 0.0, 5.0, 9.0])[:, None], {"discriminator": Near()}
  spread = jax.pmap(
    lambda poses, valid: discriminator.accuracy({}, poses, poses, valid, "devices", nets, CONFIG), "devices"
  )
  for valid, counts in (([1, 1, 1, 1], [1, 1, 1, 1]), ([1, 1, 1, 0], [0, 1, 1, 0]), ([1, 0, 0, 0], [0] * 4)):
    valid = np.array(valid, np.float32)
    one = discriminator.accuracy({}, poses, poses, valid, None, nets, CONFIG)
    two = (part.reshape(4) for part in spread(poses.reshape(2, 2, 1), valid.reshape(2, 2)))
    for right, counted in (one, two):
      np.testing.assert_array_equal(right, [1, 0.5, 1, 1])
      np.testing.assert_array_equal(counted, counts)
  _, counted = discriminator.accuracy({}, poses[:1], poses[:1], jnp.ones(1), None, nets, CONFIG)
  assert not counted.any()  # alone, it has no partner


@pytest.mark.slow
def test_validation_on_four_devices_is_that_of_one(start):
  """Padding repeats the first clip, as data do; the discriminator does not say the same of everything."""
  method, state, batch = start
  sure = jax.tree.map(lambda leaf: 60 * leaf, state.params["discriminator"])
  state = state.replace(params=state.params | {"discriminator": sure})
  valid = np.arange(BATCH) < 5
  batch = {"clip": np.where(valid[:, None, None, None, None], batch["clip"], batch["clip"][:1])}
  batch["_mask"] = valid.astype(np.float32)
  one = compiled(partial(method.validate, axis_name=None))(state, batch)
  four = steps.validate_fn(method)(steps.replicate(state), steps.place(batch)).fetch()
  assert four.keys() == one.keys() and 0 < one["val/discriminator_accuracy"][0] < 4
  for name, pair in one.items():  # sums of five scores below 1, in another order
    np.testing.assert_allclose(four[name], pair, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
  "drnet, ema",
  [
    (dict(content_size=0, pose_size=9, adversary_weight=0.0), 0.0),
    (dict(skips=True, fresh_pairs=True, dtype="bfloat16"), 0.9),
    (dict(reconstruction="cross_entropy", normalise_pose=False), 0.9),
  ],
)
def test_an_autoencoder_and_skips_and_moving_averages_train(drnet, ema):
  config = tiny(**drnet)
  config.optim.ema, config.train.remat = ema, bool(ema)
  method, batch = methods.create(config), toy_data.batch(SPEC, BATCH, 0)
  state = compiled(method.init)(jax.random.key(0), batch)
  new, metrics = compiled(partial(method.update, axis_name=None))(state, batch, jax.random.key(0))
  assert all(np.isfinite(pair[0]) for pair in metrics.values())
  assert ("content" in new.params) == bool(config.drnet.content_size)
  if ema:
    average = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, state.params["pose"], new.params["pose"])
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), new.ema["pose"], average)
    assert "discriminator" not in new.ema


@pytest.mark.parametrize(
  "change, words",
  [
    ({"data.frames": 1}, "config.data.frames = 1"),
    ({"data.side": 24}, "config.data.side = 24: must be one of 16, 32"),
    ({"drnet.skips": True, "drnet.content": "resnet"}, "config.drnet.skips"),
    ({"drnet.skips": True, "drnet.content_size": 0}, "config.drnet.skips"),
    ({"drnet.sampling": "first", "drnet.max_offset": FRAMES}, "config.drnet.max_offset = 4"),
    ({"drnet.fresh_pairs": True, "train.batch_size": 3}, "config.train.batch_size = 3"),
    ({"drnet.reconstruction": "absolute"}, "must be one of squared, cross_entropy"),
    ({"drnet.pose": "lstm"}, "must be one of dcgan, vgg, resnet"),
  ],
)
def test_what_cannot_be_is_one_line(change, words):
  with pytest.raises(UserError, match=words):
    validate(changed(tiny(), change), 1)


@pytest.mark.slow
def test_two_and_two_steps_are_four_bit_for_bit(start, tmp_path):
  """Four optimisers and running statistics."""
  config = tiny()
  config.train.gradient_norms_every = 0
  whole = two_and_two_are_four(config, start[0], tmp_path)
  groups = {"/".join(name.split("/")[:3]) for name in whole}
  optimisers = {f"rest/opt_state/{name}" for name in ("content", "pose", "decoder", "discriminator")}
  assert optimisers | {"model_state/statistics/pose"} <= groups
