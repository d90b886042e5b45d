"""`voxels`: poses, terms, steps over several devices, validation, and what inference gives."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.method_checks import vector

from pdr_jax import methods
from pdr_jax.config import base, variant
from pdr_jax.config_checks import validate
from pdr_jax.errors import UserError
from pdr_jax.methods import inference_variables
from pdr_jax.methods.voxels import inference, model, pose, projection, settings, system
from pdr_jax.render import volume
from pdr_jax.training import checkpoints, loop
from pdr_jax.training import step as steps

B, S = 8, 28
CASES = {
  "free": dict(pose="free", regulariser="mu_vae", texture=True, width_texture=8),
  "adversarial": dict(pose="adversarial", regulariser="mmd", judge_width=8, pose_noise=0.1),
  "circular": dict(
    pose="circular", regulariser="kl", pose_components=2, absorption="occupancy", symmetric=True
  ),
}


def tiny(case):
  config = base("voxels")
  config.train.batch_size = B
  config.optim.update(ema=0.9, learning_rate=3e-3)
  config.voxels.update(width_encoder=4, width_decoder=4, code=3, **CASES[case])
  validate(config, 4)
  return config


def images(seed=0):
  """Boxes of random size and place on black, `[B, S, S, 1]` in [-1, 1]."""
  rng = np.random.default_rng(seed)
  place = np.linspace(-1, 1, S)
  centre, half = rng.uniform(-0.3, 0.3, (2, B, 1)), rng.uniform(0.2, 0.6, (2, B, 1))
  inside = [np.abs(place[None] - c) < h for c, h in zip(centre, half, strict=True)]
  return (2.0 * (inside[0][:, :, None] & inside[1][:, None])[..., None] - 1).astype(np.float32)


@lru_cache
def built(case):
  """The method, the state of step 0, and that after one step on one device with its metrics."""
  method = methods.create(tiny(case))
  state = jax.jit(method.init)(steps.stream(0, "init"), {"image": images()})
  root = steps.stream(3, "update")
  update = jax.jit(partial(method.update, axis_name=None))
  after, metrics = update(state, {"image": images()}, jax.random.fold_in(root, 0))
  return method, state, after, metrics, update


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_four_devices_take_the_step_of_one(case):
  """Codes, poses, batch statistics, the judge and the pose's own step: all see the global batch."""
  method, state, one, metrics, _ = built(case)
  many, many_metrics = steps.update_fn(method)(
    steps.replicate(state), steps.place({"image": images()}), steps.stream(3, "update")
  )
  for name, (total, count) in metrics.items():
    np.testing.assert_allclose(many_metrics.fetch()[name], [total, count], rtol=2e-3, atol=1e-4, err_msg=name)
  for mine, theirs in ((one.model_state, many.model_state), (one.opt_state, many.opt_state)):
    a, b = vector(mine), vector(jax.device_get(theirs))
    assert np.linalg.norm(a - b) < 0.01 * np.linalg.norm(a)
  assert set(one.opt_state) == {"main"} | {"free": {"pose"}, "adversarial": {"judge"}}.get(case, set())


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_inference_and_padding(case):
  method, _, state, _, _ = built(case)
  variables = inference_variables(state)
  parts = jax.jit(method.decompose)(variables, images())
  assert parts["voxels"].shape == (B, S, S, S) and parts["azimuth_draws"].shape == (B, inference.DRAWS)
  density = np.asarray(parts["voxels"])
  assert 0 <= density.min() and density.max() < 1
  assert (density[:, np.asarray(volume.cylinder_mask(S, S, S)) == 0] == 0).all()
  if case == "circular":
    np.testing.assert_allclose(density, density[..., ::-1], rtol=0, atol=1e-6)  # a sum of two numbers
    density = -np.log1p(-density)  # what occupancies absorb
  projected = projection.project(density, parts["azimuth"])
  # sums of 28 weights and of 784 products, of which few are not zero, through an exponential
  np.testing.assert_allclose(parts["projection"], 2 * projected[..., None] - 1, rtol=0, atol=1e-5)
  assert np.isfinite(np.asarray(parts["reconstruction"])).all()
  blocks = jax.jit(method.encode)(variables, images())
  assert blocks.keys() == ({"shape"} if case == "free" else {"shape", "pose"})
  if case != "free":  # cosine and sine of the azimuth: a division, a root, and an angle there and back
    angle = np.arctan2(blocks["pose"][:, 1], blocks["pose"][:, 0])
    np.testing.assert_allclose(np.exp(1j * angle), np.exp(1j * np.asarray(parts["azimuth"])), atol=1e-5)
  mask = (np.arange(B) < 3).astype(np.float32)
  other = np.where(mask[:, None, None, None] > 0, images(), images(9))
  run = jax.jit(partial(method.validate, axis_name=None))
  first, second = (run(state, {"image": x, "_mask": mask}) for x in (images(), other))
  for name, (total, count) in first.items():
    assert float(count) == 3
    np.testing.assert_allclose(second[name][0], total, rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_losses_fall_on_one_batch():
  *_, state, metrics, update = built("circular")
  seen = [float(metrics["reconstruction"][0] / metrics["reconstruction"][1])]
  for i in range(1, 30):
    state, metrics = update(state, {"image": images()}, jax.random.key(i))
    seen.append(float(metrics["reconstruction"][0] / metrics["reconstruction"][1]))
  assert np.mean(seen[-5:]) < 0.75 * np.mean(seen[:3])


@pytest.mark.slow
def test_free_poses_have_a_step_of_their_own_and_do_not_see_the_picture():
  config = tiny("free")
  _, state, after, _, _ = built("free")
  slots = state.params["pose"]["slots"]
  assert slots["mean"].shape == (B, pose.NOISE) and not vector(slots).any()
  moved = vector(after.params["pose"]["slots"])
  # two of Adam's first steps, of the learning rate each, one of them clipped
  rate = config.optim.learning_rate
  assert rate * 1.2 < np.abs(moved).max() <= rate * 2.01
  azimuths = pose.draw_free(after.params["pose"], jax.random.key(5), jnp.arange(20))
  assert ((azimuths >= 0) & (azimuths <= 2 * np.pi)).all() and len(np.unique(azimuths)) > 10


def test_an_undecided_posterior_looks_everywhere_evenly():
  even = pose.posterior_of(jnp.zeros((1, 8 * pose.PARTS)), 8)
  expected = np.exp(1j * np.arange(8) * np.pi / 4)
  np.testing.assert_allclose(np.exp(1j * np.asarray(even.mean[0])), expected, atol=1e-6)
  np.testing.assert_allclose(even.std, np.pi / 8, rtol=1e-5)  # an exponential and a few products
  gradient = jax.grad(lambda raw: pose.posterior_of(raw, 2).mean.sum())(jnp.array([[0, -1.0, 0, 0] * 2]))
  assert np.isfinite(gradient).all()  # a component without a direction


def test_coarse_errors_rank_azimuths_as_exact_ones_do():
  density = jnp.zeros((1, S, S, S)).at[0, 5:23, 10:20, 12:16].set(0.9)
  azimuths = jnp.arange(6, dtype=jnp.float32)[None] * (np.pi / 6)
  target = projection.project(density, azimuths[:, 2])
  exact = model.squared(projection.project_many(density, azimuths), target[:, None])
  coarse = system.coarse_errors(density, azimuths, target, 0.0)
  # a box looks the same from 60 and from 120 degrees
  assert set(np.argsort(coarse[0])[:2].tolist()) == {2, 4}
  assert np.corrcoef(exact[0], coarse[0])[0, 1] > 0.97


def test_a_ray_passes_with_the_product_of_what_occupancies_let_through():
  logits = np.random.default_rng(0).normal(-2, 2, (2, S, S, S)).astype(np.float32)
  seen = projection.project(projection.absorption(logits, "occupancy"), jnp.zeros(2))
  occupied = volume.cylinder_mask(S, S, S) / (1 + np.exp(-logits.astype(np.float64)))
  expected = 1 - np.prod(1 - occupied, axis=1)
  np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-5)  # sums of 28 terms through an exponential
  as_released = projection.absorption(logits, "density")
  np.testing.assert_allclose(as_released, occupied, rtol=0, atol=1e-6)


def test_elevation_shows_the_top():
  """A plate low in the volume moves down in the picture's rows towards the viewer, and has an area."""
  density = jnp.zeros((1, S, S, S)).at[0, 9:19, 14, 9:19].set(5.0)
  flat = projection.project(density, jnp.zeros(1))
  above = projection.project(density, jnp.zeros(1), 30.0)
  assert float((above > 0.5).sum()) > 3 * float((flat > 0.5).sum())
  near = jnp.zeros((1, S, S, S)).at[0, 4, 14, 14].set(5.0)
  rows = projection.project(near, jnp.zeros(1), 30.0)[0].sum(axis=1)
  assert float((rows * jnp.arange(S)).sum() / rows.sum()) > 16  # the near side is lower


def test_variants_and_what_cannot_be():
  config = variant(base("voxels"), "parity")
  assert config.voxels.texture and config.voxels.density_start == 0.0 and config.voxels.pose == "free"
  assert variant(base("voxels"), "kl,circular").voxels.regulariser == "kl"
  for key, value, words in (("side", 48, "28, 32, 64"), ("channels", 3, "grey"), ("frames", 2, "single")):
    config = base("voxels")
    config.data[key] = value
    with pytest.raises(UserError, match=words):
      validate(config, 1)


def test_a_variant_says_the_same_over_any_configuration():
  """`parity` is the released code over the quickstart too, and a regulariser takes its weight with it."""
  tuned = base("voxels")
  tuned.voxels.update(absorption="occupancy", symmetric=True, sample_std=1.0, beta=7.0, pose="circular")
  tuned.voxels.update(regulariser="kl", clip_mean=1.0)
  assert variant(tuned, "parity").voxels == variant(base("voxels"), "parity").voxels
  for name in settings.REGULARISERS:
    assert variant(base("voxels"), f"mmd,{name}").voxels == variant(base("voxels"), name).voxels


class Stream:
  """Endless batches that depend on their number only."""

  def __init__(self):
    self._next = 0

  def __next__(self):
    self._next += 1
    return {"image": images(self._next)}

  def get_state(self):
    return {"batch": self._next}

  def set_state(self, state):
    self._next = int(state["batch"])

  def close(self):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("case", ["circular", "adversarial"])
def test_a_run_in_halves_is_the_whole_run_bit_for_bit(case, tmp_path):
  """Optimisers of the pose and of the judge, batch statistics and averages are all in the checkpoint."""
  config, method = tiny(case), built(case)[0]
  config.train.update(log_every=1, validate_every=2, figure_every=0, checkpoint_every=2)
  config.train.gradient_norms_every = 0
  validation = [{"image": images(10**6), "_mask": (np.arange(B) < 5).astype(np.float32)}]
  states = []
  for name, stops in (("whole", (2,)), ("halves", (1, 2))):
    for stop in stops:
      config.train.steps = stop
      result = loop.train(
        config, str(tmp_path / name), method=method, data=loop.Data(Stream(), validation, "boxes")
      )
      assert result.exit_code == 0 and result.summary["validation"]["val/reconstruction"] > 0
    manager = checkpoints.Checkpoints(str(tmp_path / name), keep=2, best_metric=config.train.best_metric)
    read = manager.restore_latest(steps.abstract_state(method, config.seed, validation[0]))
    manager.close()
    assert read.step == 2
    states.append(jax.device_get(read.state))
  jax.tree.map(np.testing.assert_array_equal, *states)
