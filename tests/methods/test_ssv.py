"""SSV: its step and what it changes, draws, devices, padding, what it makes, limits, stops."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import toy_data
from support.method_checks import changed, two_and_two_are_four, vector
from support.programs import compiled
from support.references import needs_torch, torch

from pdr_jax import config as config_lib
from pdr_jax import methods
from pdr_jax.config_checks import validate
from pdr_jax.errors import UserError
from pdr_jax.losses import angles
from pdr_jax.methods import inference_variables, pictures_in_order
from pdr_jax.methods.ssv import inference, model, system
from pdr_jax.networks.ssv import SIDES
from pdr_jax.training import step as steps
from pdr_jax.training.validation import complaints, with_deviations

BATCH, SIDE = 8, 16
TINY = dict(width_synthesis=8, width_viewpoint=8, volume_side=8, code=4, shade=0.5, volume_rendering=True)


def tiny(**ssv):
  config = config_lib.base("ssv")
  config.data.side = SIDE
  config.ssv.update(TINY | ssv)
  config.optim.ema = 0.9
  config.train.update(batch_size=BATCH, steps=4)
  validate(config, 4)
  return config


CONFIG = tiny()
SPEC = methods.describe("ssv").reads(CONFIG)


@pytest.fixture(scope="module")
def start():
  method, batch = methods.create(CONFIG), toy_data.batch(SPEC, BATCH, 0)
  return method, compiled(method.init)(jax.random.key(0), batch), batch


@pytest.fixture(scope="module")
def update(start):
  return compiled(partial(start[0].update, axis_name=None))


@pytest.mark.slow
def test_a_step_changes_both_networks_the_average_and_the_deviation(start, update):
  _, state, batch = start
  new, metrics = update(state, batch, jax.random.key(1))
  values = {name: float(total / count) for name, (total, count) in metrics.items()}
  assert all(np.isfinite(value) for value in values.values())
  weights = system.viewpoint_weights(CONFIG)
  np.testing.assert_allclose(
    values["loss_viewpoint"], sum(weight * values[name] for name, weight in weights.items()), rtol=1e-5
  )
  weights = system.synthesis_weights(CONFIG)
  np.testing.assert_allclose(
    values["loss_synthesis"], sum(weight * values[name] for name, weight in weights.items()), rtol=1e-5
  )
  for name in model.NETWORKS:
    assert np.abs(vector(new.params[name]) - vector(state.params[name])).max() > 1e-5
  average = 0.9 * vector(state.params["synthesis"]) + 0.1 * vector(new.params["synthesis"])
  np.testing.assert_allclose(vector(new.ema["synthesis"]), average, rtol=1e-5, atol=1e-6)
  assert set(new.ema) == {"synthesis"}
  deviation = 0.9 * 1.0 + 0.1 * values["deviation"]
  np.testing.assert_allclose(new.model_state["deviation"], deviation, rtol=1e-5)
  # Adam's first step is the rate in every number: the mapping's is a hundredth of it.
  moved = np.abs(vector(new.params["synthesis"]["mapping"]) - vector(state.params["synthesis"]["mapping"]))
  np.testing.assert_allclose(moved.max(), 0.01 * CONFIG.optim.learning_rate, rtol=2e-2)


@pytest.mark.slow
@needs_torch
def test_the_step_is_pytorchs(start, update):
  """Every term, and every gradient as Adam's second moments after one step, from the same draws."""
  from support import ssv_reference as reference

  _, state, batch = start
  rng, index = jax.random.key(5), jnp.arange(BATCH)
  new, metrics = update(state, batch, rng)

  def tensor(array):
    return torch.tensor(np.asarray(array))

  def draws(key):
    return tuple(tensor(part) for part in model.draw(jax.random.fold_in(rng, key), index, CONFIG))

  dropout = [tensor(system._dropout(rng, i, index, CONFIG)) for i in range(6)]
  shade = [tensor(system._shade(rng, i, index, CONFIG)) for i in range(6)]
  mix = tensor(model.draw_mix(jax.random.fold_in(rng, system._MIX), index))
  images = tensor(np.moveaxis(batch["image"], -1, 1).copy())
  v, s = (reference.tensors(jax.device_get(state.params[name])) for name in model.NETWORKS)
  after = reference.tensors(jax.device_get(new.params["viewpoint"]))
  terms = {
    "viewpoint": reference.viewpoint_terms(
      v, s, images, *draws(system._FAKE), mix, dropout[:3], CONFIG.ssv.drift, shade[:3]
    ),
    "synthesis": reference.synthesis_terms(
      after, s, draws(system._FIRST), draws(system._SECOND), torch.cat(dropout[3:]), torch.cat(shade[3:])
    ),
  }
  weights = {"viewpoint": system.viewpoint_weights(CONFIG), "synthesis": system.synthesis_weights(CONFIG)}
  for name, network in (("viewpoint", v), ("synthesis", s)):
    for term, value in terms[name].items():
      total, count = metrics[term]
      # two networks in a row, some forty layers of sums of numbers of about one
      np.testing.assert_allclose(total / count, value.item(), rtol=0, atol=2e-4, err_msg=term)
    leaves = jax.tree.leaves(network)
    loss = sum(weights[name][term] * value for term, value in terms[name].items())
    gradient = vector([g.numpy() for g in torch.autograd.grad(loss, leaves)])
    moments = vector(optax.tree.get(new.opt_state[name], "nu"))
    ours = np.sqrt(moments / (1 - CONFIG.optim.b2))
    assert np.linalg.norm(ours - np.abs(gradient)) < 2e-3 * np.linalg.norm(gradient), name


def test_the_pieces_of_a_step(start):
  """What is drawn for a place of the batch depends on the place alone; ranges; dropout's mean."""
  rng = jax.random.key(3)
  drawn = model.draw(rng, jnp.arange(500), CONFIG)
  later = model.draw(rng, jnp.arange(250, 500), CONFIG)
  np.testing.assert_array_equal(drawn.codes[250:], later.codes)
  np.testing.assert_array_equal(drawn.angles[250:], later.angles)
  limits = np.deg2rad([CONFIG.ssv.azimuth, CONFIG.ssv.elevation, CONFIG.ssv.tilt])
  assert (np.abs(drawn.angles) <= limits).all() and (np.abs(drawn.angles).max(axis=0) > 0.95 * limits).all()
  assert np.abs(drawn.codes).max() <= 1 and abs(float(drawn.codes.mean())) < 0.05
  dropout = model.draw_dropout(rng, jnp.arange(500), CONFIG)
  assert set(np.unique(dropout)) == {0.0, 2.0} and abs(float(dropout.mean()) - 1) < 0.05
  assert system._dropout(rng, 0, jnp.arange(3), tiny(dropout=0.0)) is None


def test_shading_is_a_ramp_of_the_logarithm_of_brightness():
  pictures = np.random.default_rng(0).uniform(-1, 1, (4, SIDE, SIDE, 3)).astype(np.float32)
  shade = model.draw_shade(jax.random.key(0), jnp.arange(500), tiny(shade=0.7))
  assert shade.shape == (500, 2) and 0.65 < np.abs(shade).max() <= 0.7 and abs(float(shade.mean())) < 0.05
  made = model.shaded(pictures, shade[:4])
  for picture, (right, low), shaded in zip(pictures, np.asarray(shade, np.float64), made, strict=False):
    for row in range(SIDE):
      for column in range(SIDE):
        x, y = 2 * column / (SIDE - 1) - 1, 2 * row / (SIDE - 1) - 1
        bright = (picture[row, column] + 1) * np.exp(right * x + low * y)
        np.testing.assert_allclose(shaded[row, column], bright - 1, rtol=1e-4, atol=1e-5)
  assert system._shade(jax.random.key(3), 0, jnp.arange(4), tiny(shade=0.0)) is None
  np.testing.assert_array_equal(model.shaded(pictures, None), pictures)  # the published step


def test_diversity_is_that_of_the_data_and_ignores_padding():
  real = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4, 4, 3)), jnp.float32)
  np.testing.assert_allclose(inference.diversity(real / 2, real), 0.5, rtol=1e-5)
  assert float(inference.diversity(jnp.repeat(real[:1], 6, axis=0), real)) < 1e-3
  mask = jnp.array([1.0, 1, 1, 0, 0, 0])
  padded = real.at[3:].set(100.0)
  np.testing.assert_allclose(
    inference.diversity(padded / 4, padded, mask), 0.25 * inference.diversity(real, real), rtol=1e-5
  )
  assert float(inference.diversity(real[:1], real[:1])) == 0  # one picture alone


@pytest.mark.slow
def test_what_it_says_and_makes(start):
  method, state, batch = start
  variables, images = inference_variables(state), batch["image"]
  blocks = compiled(method.encode)(variables, images)
  assert {name: block.shape[1] for name, block in blocks.items()} == {"style": 8, "view": 6, "features": 8}
  parts = compiled(method.decompose)(variables, images)
  seen = compiled(partial(inference.see, config=CONFIG))(variables, images)
  said = angles.mean_direction(seen.magnitudes, seen.quadrants)
  np.testing.assert_allclose(parts["angles"], said, rtol=0, atol=1e-4)
  assert np.abs(said - angles.decode(seen.magnitudes, seen.quadrants)).max() > 0.1  # signs are unsure
  turned = compiled(method.turn)(variables, images, parts["angles"])
  np.testing.assert_allclose(turned, parts["reconstruction"], atol=1e-4)  # the same, compiled twice
  shown = compiled(pictures_in_order(method))(variables, images)
  assert all(values.shape == images.shape and np.abs(values).max() <= 1 for values in shown.values())
  assert [name for name in shown if name.startswith("tilt")] == ["tilt -43", "tilt +0", "tilt +43"]
  assert len([name for name in shown if name.startswith("azimuth")]) == 5
  made = method.generate(variables, jax.random.key(0), 2)
  np.testing.assert_allclose(made, shown["sample"][:2], atol=1e-4)
  alone = compiled(method.encode)(variables, images[:1])  # the running deviation stands for the batch's
  np.testing.assert_allclose(alone["features"], blocks["features"][:1], rtol=1e-3, atol=1e-4)


def test_sweeps_stay_in_their_range_and_do_not_repeat_on_the_circle():
  assert inference.sweep(tiny(azimuth=40.0), "azimuth") == [-40, -20, 0, 20, 40]
  assert inference.sweep(tiny(azimuth=180.0), "azimuth") == [-144, -72, 0, 72, 144]
  assert inference.sweep(tiny(tilt=0.0), "tilt") == []
  views = (jnp.deg2rad(jnp.array([view])) for view in ([170.0, 0, 0], [-170.0, 0, 3]))
  np.testing.assert_allclose(inference.degrees_between(*views), [23 / 3], rtol=1e-4)


@pytest.fixture(scope="module")
def validation_of(start):
  return compiled(partial(start[0].validate, axis_name=None))


def test_a_collapse_and_a_critic_that_wins_or_loses_are_a_line(start, validation_of):
  _, state, batch = start
  batch = batch | {"_mask": np.ones(BATCH, np.float32)}

  def kinds(state):
    scores = {name: float(total / count) for name, (total, count) in validation_of(state, batch).items()}
    scores = with_deviations(scores)
    assert {"val/diversity", "val/critic_gap", "val/distance", "val/azimuth_spread"} <= scores.keys()
    lines = complaints(scores, 50, 100)
    assert all("\n" not in line for _, line in lines)
    return {kind for kind, _ in lines}

  collapsed = state.replace(ema=jax.tree.map(jnp.zeros_like, state.ema))  # one grey picture for all codes
  assert "alike" in kinds(collapsed) and "alike" not in kinds(state)
  ways = set()
  for sign in (1e4, -1e4):
    params = dict(state.params["viewpoint"])
    params["realism"] = jax.tree.map(lambda x, sign=sign: sign * x, params["realism"])
    ways |= kinds(state.replace(params=state.params | {"viewpoint": params}))
  assert {"critic", "critic wins"} <= ways


def test_validation_ignores_padding(start, validation_of):
  _, state, batch = start
  mask = (np.arange(BATCH) < 5).astype(np.float32)
  run = validation_of
  scores = run(state, batch | {"_mask": mask})
  other = batch["image"].copy()
  other[5:] = 0.25
  again = run(state, {"image": other, "_mask": mask})
  assert scores.keys() == again.keys() and "val/reconstruction" in scores
  for name, (total, count) in scores.items():
    assert count == 5
    np.testing.assert_allclose(total, again[name][0], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
  "change, words",
  [
    ({"data.side": 48}, "config.data.side = 48: must be one of 16, 32"),
    ({"data.frames": 2}, "takes single pictures"),
    ({"ssv.volume_side": 16}, "config.ssv.volume_side = 16: must be below config.data.side = 16"),
    ({"data.side": 256, "ssv.volume_side": 8}, "config.ssv.volume_side = 8: must be at least 16"),
    ({"train.batch_size": 1}, "needs at least 2"),
    ({"ssv.features": "vgg16"}, "needs a file, config.ssv.feature_weights=PATH"),
    ({"ssv.features": "alexnet", "ssv.feature_weights": "/gone.pth"}, "no such file"),
    ({"ssv.features": "random", "data.channels": 1}, "takes colour"),
    ({"ssv.azimuth": 200.0}, "config.ssv.azimuth = 200.0: must be from 0 to 180"),
    ({"ssv.dropout": 1.0}, "config.ssv.dropout = 1.0"),
  ],
)
def test_what_cannot_be_is_one_line(change, words):
  with pytest.raises(UserError, match=words):
    validate(changed(tiny(), change), 1)


def test_pictures_have_the_side_that_a_checked_configuration_says():
  """Every side with every side of the volume: the two are refused, or pictures are as large as asked for."""
  made = []
  for side, volume_side in itertools.product(SIDES, (8, 16)):
    config = changed(tiny(), {"data.side": side, "ssv.volume_side": volume_side})
    try:
      validate(config, 1)
    except UserError:
      continue
    net = model.networks(config)["synthesis"]
    inputs = jnp.zeros((1, 2 * config.ssv.code)), jnp.zeros((1, 3))
    shown, _ = jax.eval_shape(net.init_with_output, jax.random.key(0), *inputs)
    assert shown.shape == (1, side, side, config.data.channels), (side, volume_side)
    made.append((side, volume_side))
  assert made == [(16, 8), (32, 8), (32, 16), (64, 8), (64, 16), (128, 8), (128, 16), (256, 16)]


@pytest.mark.slow
@pytest.mark.parametrize(
  "ssv",
  [
    dict(image_weight=0.0, flip_weight=0.0, mirror_weight=0.0, dropout=0.0),
    dict(nearest=True, features="random"),
    dict(volume_rendering=False),
  ],
)
def test_variants_train(ssv):
  config = tiny(**ssv)
  config.optim.ema, config.train.remat = 0.0, bool(ssv.get("nearest"))
  method, batch = methods.create(config), toy_data.batch(SPEC, BATCH, 0)
  state = compiled(method.init)(jax.random.key(0), batch)
  new, metrics = compiled(partial(method.update, axis_name=None))(state, batch, jax.random.key(0))
  assert all(np.isfinite(pair[0]) for pair in metrics.values()) and new.ema is None


@pytest.mark.slow
def test_four_devices_equal_one(start, update):
  """The critic sees the deviation of the whole batch, in its penalty's gradient too."""
  method, state, batch = start
  root = steps.stream(3, "update")
  one, metrics = update(state, batch, jax.random.fold_in(root, 0))
  many, many_metrics = steps.update_fn(method)(steps.replicate(state), steps.place(batch), root)
  fetched = many_metrics.fetch()
  for name, (total, count) in metrics.items():
    np.testing.assert_allclose(fetched[name], [total, count], rtol=2e-3, atol=1e-3, err_msg=name)
  for name in model.NETWORKS:  # Adam's second moments are the squared gradients
    mine, theirs = (vector(tree.opt_state[name]) for tree in (one, jax.device_get(many)))
    assert np.linalg.norm(mine - theirs) < 0.01 * np.linalg.norm(mine), name
  deviations = (tree.model_state["deviation"] for tree in (jax.device_get(many), one))
  np.testing.assert_allclose(*deviations, rtol=1e-4)


@pytest.mark.slow
def test_two_and_two_steps_are_four_bit_for_bit(start, tmp_path):
  assert "model_state/deviation" in two_and_two_are_four(tiny(), start[0], tmp_path)


def test_a_mirror_of_a_viewpoint_is_found_again():
  """The flip map of the angles is its own inverse."""
  view = jnp.array([[0.4, 0.1, -0.3]])
  np.testing.assert_array_equal(angles.mirrored(angles.mirrored(view)), view)
