"""PDR as a whole: what a step must satisfy whatever the weights are."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdr_jax import methods
from pdr_jax.config import base
from pdr_jax.methods.pdr import loocc
from pdr_jax.methods.pdr import scene as scenes
from pdr_jax.methods.pdr import system as pdr
from pdr_jax.methods.shared import gradient_step

B, S = 8, 32


def tiny(**changes):
  config = base()
  config.data.side = S
  config.networks.update(width_map=8, width_vector=8, zdim=16, zdim_confidence=8)
  config.train.batch_size = B
  for key, value in changes.items():
    section, name = key.split("__")
    config[section][name] = value
  return config


@pytest.fixture(scope="module")
def images():
  return jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (B, S, S, 3)), jnp.float32)


def random_scene(config, seed=0):
  rng = np.random.default_rng(seed)
  yy, xx = np.mgrid[-1:1:S * 1j, -1:1:S * 1j]
  relief = 1.0 - 0.06 * np.exp(-3 * (xx**2 + yy**2)) + 0.01 * rng.normal(size=(B, 1, 1)) * np.sin(3 * xx + yy)
  outputs = rng.uniform(-0.8, 0.8, (B, 9 if config.scene.light == "sh" else 4))
  view = rng.uniform(-1, 1, (B, 6)) * np.array([0.2, 0.4, 0.1, 0.02, 0.02, 0.0])

  def as_array(x):
    return jnp.asarray(x, jnp.float32)

  depth = scenes.clamp_border(as_array(relief), config)
  light = pdr.light_model.from_outputs(as_array(outputs), config)
  return scenes.Scene(depth, as_array(rng.uniform(-1, 1, (B, S, S, 3))), light, as_array(view))


def zero_draw(factor):
  zero = jnp.zeros(B)
  names = ("ambient", "diffuse", "angle", "pitch", "yaw", "pitch_flipped", "yaw_flipped")
  axis = jnp.broadcast_to(jnp.array([0.0, 0.6, 0.8]), (B, 3))
  return {name: zero for name in names} | {
    "factor": jnp.full(B, loocc.FACTORS.index(factor)),
    "axis": axis,
    "offset": jnp.zeros((B, 3)),
  }


@pytest.mark.parametrize("light", ["sh", "directional"])
@pytest.mark.parametrize("factor", ["light", "view"])
def test_zero_perturbation_gives_back_the_reconstruction(light, factor):
  config = tiny(scene__light=light)
  scene = random_scene(config)
  picture = loocc.re_render(scene, zero_draw(factor), config)
  rendering = scenes.render(scene, config)
  expected = jnp.clip(rendering.image, -1, 1) * rendering.mask[..., None]
  np.testing.assert_allclose(picture, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("factor", ["light", "view", "albedo", "depth"])
def test_a_perturbation_changes_its_factor_alone(factor):
  config = tiny(loocc__factors=("light", "view", "albedo", "depth"))
  scene = random_scene(config)
  drawn = loocc.draw(jax.random.key(1), jnp.arange(B), config)
  drawn["factor"] = jnp.where(
    jnp.arange(B) < B // 2, loocc.FACTORS.index(factor), (loocc.FACTORS.index(factor) + 1) % 4
  )
  perturbed = loocc.perturb(scene, drawn, config)
  change = (
    np.abs(np.asarray(getattr(perturbed, factor)) - np.asarray(getattr(scene, factor))).reshape(B, -1).max(1)
  )
  assert (change[:B // 2] > 1e-4).all() and (change[B // 2:] == 0).all()


def test_perturbations_stay_in_their_ranges():
  config = tiny(loocc__yaw=90.0, loocc__ambient=5.0)
  scene = random_scene(config)
  drawn = loocc.draw(jax.random.key(2), jnp.arange(B), config)
  for name in ("light", "view"):
    drawn["factor"] = jnp.full(B, loocc.FACTORS.index(name))
    perturbed = loocc.perturb(scene, drawn, config)
    assert (np.abs(perturbed.view) <= scenes.view_range(config) + 1e-6).all()
    assert (perturbed.light[:, 0] >= 0).all() and (
      perturbed.light[:, 0] <= pdr.light_model.AMBIENT_UNIT + 1e-5
    ).all()


def test_left_out_features_get_no_gradient(images):
  config = tiny(loocc__factors=("light", "view", "albedo", "depth"))
  drawn = loocc.draw(jax.random.key(3), jnp.arange(B), config)
  scene = random_scene(config)
  rng = np.random.default_rng(4)
  blocks = {name: jnp.asarray(rng.uniform(0, 1, (B, 16)), jnp.float32) for name in loocc.FACTORS}

  def encode(picture):
    return {name: picture.mean((1, 2)) @ jnp.ones((3, 16)) + block[::-1] for name, block in blocks.items()}

  grads = jax.grad(lambda blocks: loocc.loss(encode, scene, blocks, drawn, config, None).mean())(blocks)
  for name, grad in grads.items():
    out = np.asarray(loocc.left_out(drawn, name))
    size = np.abs(np.asarray(grad)).max(1)
    assert (size[out] == 0).all() and (size[~out] > 0).all(), name


def test_gradients_reach_all_five_networks(images):
  config = tiny()
  method = methods.create(config)
  state = method.init(jax.random.key(0), {"image": images})
  nets, phi = pdr.networks(config), pdr.perceptual_features(config)

  @jax.jit
  def grads(params):
    terms = partial(
      pdr.loss_terms,
      batch={"image": images},
      rng=jax.random.key(1),
      axis_name=None,
      nets=nets,
      phi=phi,
      config=config,
    )
    return gradient_step.gradients(params, terms, pdr.term_weights(config), None)[0]

  for name, tree in grads(state.params).items():
    norms = [float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree)]
    assert np.isfinite(norms).all() and min(norms) > 0, name


def test_a_mirrored_scene_gives_the_mirrored_picture():
  config = tiny()
  scene = random_scene(config)
  mirrored_view = scene.view * jnp.array([[1.0, -1.0, -1.0, -1.0, 1.0, 1.0]])
  # X -> -x: (1,1), (2,-2), (2,1) change sign.
  mirrored_light = scene.light * jnp.array([[1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0]])
  half = scenes.mirrored(scene)
  mirror = scenes.Scene(half.depth[B:], half.albedo[B:], mirrored_light, mirrored_view)
  one, other = scenes.render(scene, config), scenes.render(mirror, config)
  # the grid's diagonals are mirrored too, so pictures agree to the relief's curvature within a cell, except
  # at silhouettes
  difference = np.abs(np.asarray(one.image) - np.flip(np.asarray(other.image), 2)).max(-1)
  assert np.quantile(difference, 0.9) < 0.06
  assert np.quantile(difference, 0.5) < 0.01
  np.testing.assert_allclose(
    one.normals[:, 2:-2, 3:-3, 0], -np.flip(other.normals[:, 2:-2, 3:-3, 0], 2), atol=2e-4
  )


SWITCHES = {
  "loocc__choice": "batch",
  "loocc__mask": "both",
  "loocc__features": "raw",
  "loocc__contrast": "supcon",
  "loocc__temperature": 0.1,
  "loocc__factors": ("light",),
  "scene__light": "directional",
  "scene__convex_start": 0.0,
}


def terms_of(config, images):
  nets = pdr.networks(config)
  state = methods.create(config).init(jax.random.key(0), {"image": images})
  terms = partial(pdr.loss_terms, axis_name=None, nets=nets, phi=None, config=config)
  return jax.jit(lambda params: terms(params, {"image": images}, jax.random.key(0))[0])(state.params)


@pytest.fixture(scope="module")
def default_terms(images):
  return terms_of(tiny(loss__perceptual=0.0), images)


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_switch_does_something(switch, images, default_terms):
  terms = terms_of(tiny(loss__perceptual=0.0, **{switch: SWITCHES[switch]}), images)
  assert all(np.isfinite(float(value)) for value in terms.values())
  assert not np.allclose(terms["loocc"], default_terms["loocc"], rtol=1e-6)


@pytest.mark.parametrize("stop", [False, True])
def test_stop_gradient_cuts_at_the_re_render(stop):
  config = tiny(loocc__stop_gradient=stop)
  drawn = loocc.draw(jax.random.key(3), jnp.arange(B), config)
  blocks = {
    name: jnp.asarray(np.random.default_rng(5).uniform(0, 1, (B, 16)), jnp.float32) for name in loocc.FACTORS
  }

  def encode(picture):
    return {name: picture.mean((1, 2)) @ jnp.ones((3, 16)) + block[::-1] for name, block in blocks.items()}

  scene = random_scene(config)
  grad = jax.grad(
    lambda albedo: loocc.loss(encode, scene._replace(albedo=albedo), blocks, drawn, config, None).mean()
  )(scene.albedo)
  assert bool(jnp.any(grad != 0)) is not stop


def test_four_devices_equal_one(images):
  config = tiny()
  method = methods.create(config)
  batch = {"image": images}
  state = method.init(jax.random.key(0), batch)
  rng = jax.random.key(5)
  update = jax.pmap(partial(method.update, axis_name="devices"), axis_name="devices", in_axes=(None, 0, None))
  shards = {"image": images.reshape(4, B // 4, S, S, 3)}
  many, many_metrics = update(state, shards, rng)
  one, one_metrics = jax.jit(partial(method.update, axis_name=None))(state, batch, rng)
  for name, (total, count) in one_metrics.items():
    np.testing.assert_allclose(many_metrics[name][0][0], total, rtol=2e-4, err_msg=name)
    assert float(many_metrics[name][1][0]) == float(count)
  # Adam's first moment is a tenth of the clipped gradient: a direct comparison of gradients. Compared as
  # whole vectors, because rounding differs between batches of 2 and of 8, and a pixel that rounding moves
  # across a mesh edge changes single entries by percents.
  alone = jax.jit(partial(method.update, axis_name=None))(state, {"image": images[:2]}, rng)[0]

  def moments(state, name):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.opt_state["main"][2].mu[name])])

  many = jax.tree.map(lambda leaf: leaf[0], many)
  for name in state.params:
    expected = moments(one, name)
    difference = [
      np.linalg.norm(moments(other, name) - expected) / np.linalg.norm(expected) for other in (many, alone)
    ]
    assert difference[0] < 0.01, name
    assert difference[1] > 0.2, name  # what gradients that were not averaged would give


def test_validation_ignores_padding_and_batch_size(images):
  config = tiny()
  method = methods.create(config)
  truth = random_scene(config)
  state = method.init(jax.random.key(0), {"image": images})
  batch = {"image": images, "depth": truth.depth, "mask": jnp.ones((B, S, S)), "_mask": jnp.ones(B)}
  validate = jax.jit(partial(method.validate, axis_name=None))
  whole = validate(state, batch)
  parts = [
    validate(state, batch | {"_mask": part.astype(jnp.float32)})
    for part in (jnp.arange(B) < 3, jnp.arange(B) >= 3)
  ]
  for name, (total, count) in whole.items():
    np.testing.assert_allclose(sum(p[name][0] for p in parts), total, rtol=1e-5, err_msg=name)
    assert float(sum(p[name][1] for p in parts)) == float(count) == B


def test_render_gives_back_the_reconstruction(images):
  config = tiny()
  method = methods.create(config)
  state = method.init(jax.random.key(0), {"image": images})
  parts = jax.jit(method.decompose)(state.params, images)
  again = method.render(parts, light=parts["light"], view=parts["view"])
  np.testing.assert_allclose(again["image"], parts["reconstruction"], atol=1e-5)
  np.testing.assert_array_equal(again["mask"], parts["mask"])
