"""PDR as a whole: what a step must satisfy whatever the weights are."""

import functools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.programs import compiled
from support.tolerances import mean_tolerance, rounding, sum_tolerance

from pdr_jax import methods
from pdr_jax.config import base
from pdr_jax.losses.light_from_below import LEAST
from pdr_jax.methods.pdr import loocc, normalized, pictures
from pdr_jax.methods.pdr import scene as scenes
from pdr_jax.methods.pdr import system as pdr
from pdr_jax.metrics import geometry
from pdr_jax.render import lighting
from pdr_jax.training import step as steps

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


CONFIG = tiny(optim__weight_decay=0.0)
METHOD = methods.create(CONFIG)


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


def same_but_for_outlines(picture, expected, off):
  """Two programs' pictures are the same, but for a pixel or two that rounding moves across an outline."""
  difference = np.abs(np.asarray(picture) - np.asarray(expected)).reshape(B, S, S, -1).max(axis=-1)
  assert np.isfinite(difference).all() and np.count_nonzero(difference > off) <= 4


@functools.cache
def renderer(light):
  """The renderer of scenes under this light, compiled once."""
  return compiled(partial(scenes.render, config=tiny(scene__light=light)))


@pytest.mark.parametrize("light", ["sh", "directional"])
def test_zero_perturbation_gives_back_the_reconstruction(light):
  config = tiny(scene__light=light)
  scene = random_scene(config)
  re_render = compiled(partial(loocc.re_render, config=config))
  rendering = renderer(light)(scene)
  expected = jnp.clip(rendering.image, -1, 1) * rendering.mask[..., None]
  for factor in ("light", "view"):
    picture = re_render(scene, zero_draw(factor))
    # The light may be turned by nothing, which is some twenty roundings of numbers up to 2.
    same_but_for_outlines(picture, expected, rounding(20, 2))


ALL_FACTORS = tiny(loocc__factors=("light", "view", "albedo", "depth"))
draw_any = compiled(lambda key: loocc.draw(key, jnp.arange(B), ALL_FACTORS))
perturb_any = compiled(partial(loocc.perturb, config=ALL_FACTORS))


@pytest.mark.parametrize("factor", ["light", "view", "albedo", "depth"])
def test_a_perturbation_changes_its_factor_alone(factor):
  scene = random_scene(ALL_FACTORS)
  drawn = draw_any(jax.random.key(1))
  drawn["factor"] = np.where(
    np.arange(B) < B // 2, loocc.FACTORS.index(factor), (loocc.FACTORS.index(factor) + 1) % 4
  )
  perturbed = perturb_any(scene, drawn)
  change = (
    np.abs(np.asarray(getattr(perturbed, factor)) - np.asarray(getattr(scene, factor))).reshape(B, -1).max(1)
  )
  assert (change[:B // 2] > 1e-4).all() and (change[B // 2:] == 0).all()


def test_perturbations_stay_in_their_ranges():
  config = tiny(loocc__yaw=90.0, loocc__ambient=5.0)
  scene = random_scene(config)

  @compiled
  def perturbed_by(name):
    drawn = loocc.draw(jax.random.key(2), jnp.arange(B), config) | {"factor": jnp.broadcast_to(name, B)}
    return loocc.perturb(scene, drawn, config)

  for name in ("light", "view"):
    perturbed = perturbed_by(loocc.FACTORS.index(name))
    # clipped, and then scaled by the unit
    assert (np.abs(perturbed.view) <= scenes.view_range(config) * (1 + rounding(2))).all()
    ambient = np.asarray(perturbed.light[:, 0])
    assert (ambient >= 0).all() and (ambient <= pdr.light_model.AMBIENT_UNIT * (1 + rounding(4))).all()


def test_left_out_features_get_no_gradient(images):
  drawn = draw_any(jax.random.key(3))
  scene = random_scene(ALL_FACTORS)
  rng = np.random.default_rng(4)
  blocks = {name: jnp.asarray(rng.uniform(0, 1, (B, 16)), jnp.float32) for name in loocc.FACTORS}

  def encode(picture):
    return {name: picture.mean((1, 2)) @ jnp.ones((3, 16)) + block[::-1] for name, block in blocks.items()}

  @compiled
  @jax.grad
  def gradients(blocks):
    return loocc.loss(encode, scene, blocks, drawn, ALL_FACTORS, None).mean()

  grads = gradients(blocks)
  for name, grad in grads.items():
    out = np.asarray(loocc.left_out(drawn, name))
    size = np.abs(np.asarray(grad)).max(1)
    assert (size[out] == 0).all() and (size[~out] > 0).all(), name


@pytest.fixture(scope="module")
def state(images):
  """The state of step 0 of `tiny`, whose parameters most tests share."""
  return steps.initial_state(METHOD, 0, {"image": images})


@pytest.fixture(scope="module")
def stepped(state, images):
  """State and metrics after a step of one device, and of one that saw two images four times."""
  rng, update = (
    jax.random.fold_in(steps.stream(5, "update"), 0),
    jax.jit(partial(METHOD.update, axis_name=None)),
  )
  alone = jax.device_get(state)
  unaveraged = update(alone, {"image": jnp.tile(images[:2], (4, 1, 1, 1))}, rng)
  return update(alone, {"image": images}, rng), unaveraged


@pytest.fixture(scope="module")
def stepped_by_four(state, images):
  """State and metrics after the same step of four devices."""
  many, metrics = steps.update_fn(METHOD)(
    steps.replicate(jax.device_get(state)), steps.place({"image": images}), steps.stream(5, "update")
  )
  return jax.device_get(many), metrics.fetch()


def first_moment(state, name):
  """Adam's, a tenth of the clipped gradient where there is no weight decay, as one vector."""
  leaves = jax.tree.leaves(state.opt_state["main"][2].mu[name])
  return np.concatenate([np.ravel(leaf) for leaf in leaves])


@pytest.mark.slow
def test_gradients_reach_all_five_networks(stepped):
  (one, _), _ = stepped
  moments = one.opt_state["main"][2].mu
  assert set(moments) == {*loocc.FACTORS, "confidence"}
  for name, tree in moments.items():
    largest = [float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree)]
    assert np.isfinite(largest).all() and min(largest) > 0, name


def test_a_mirrored_scene_gives_the_mirrored_picture():
  config = tiny()
  scene = random_scene(config)
  mirrored_view = scene.view * jnp.array([[1.0, -1.0, -1.0, -1.0, 1.0, 1.0]])
  # X -> -x: (1,1), (2,-2), (2,1) change sign.
  mirrored_light = scene.light * jnp.array([[1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0]])
  half = scenes.mirrored(scene)
  mirror = scenes.Scene(half.depth[B:], half.albedo[B:], mirrored_light, mirrored_view)
  one, other = renderer("sh")(scene), renderer("sh")(mirror)
  # the grid's diagonals are mirrored too, so pictures agree to the relief's curvature within a cell, except
  # at silhouettes
  difference = np.abs(np.asarray(one.image) - np.flip(np.asarray(other.image), 2)).max(-1)
  assert np.quantile(difference, 0.9) < 0.06
  assert np.quantile(difference, 0.5) < 0.01
  # roundings of depths of about one over a pixel's width, of 1/180 units
  np.testing.assert_allclose(
    one.normals[:, 2:-2, 3:-3, 0], -np.flip(other.normals[:, 2:-2, 3:-3, 0], 2), rtol=0, atol=rounding(4, 180)
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


class Stub(NamedTuple):
  """A network that is a formula: maps or numbers that depend on the image, and features."""

  name: str
  outputs: int

  def apply(self, variables, images, method=None):
    flat = images.reshape(images.shape[0], -1)
    weights = np.random.default_rng(len(self.name)).normal(size=(flat.shape[1], 32)) / np.sqrt(flat.shape[1])
    features = jax.nn.relu(variables["params"] * (flat @ jnp.asarray(weights, jnp.float32)))
    if method == "encode":
      return features
    maps = {"depth": images.mean(axis=-1, keepdims=True), "albedo": jnp.tanh(images)}
    return maps.get(self.name, jnp.tanh(features[:, : self.outputs] - 0.3)), features


def terms_of(config, images):
  outputs = {"depth": 1, "albedo": 3, "light": pdr.light_model.OUTPUTS[config.scene.light], "view": 6}
  nets = {name: Stub(name, count) for name, count in outputs.items()}
  params = {name: jnp.ones(()) for name in nets}
  terms = partial(pdr.loss_terms, axis_name=None, nets=nets, phi=None, config=config)
  return terms(params, {"image": images}, jax.random.key(0))[0]


PLAIN = dict(loss__perceptual=0.0, loss__confidence=False)


@pytest.fixture(scope="module")
def all_terms(images):
  """The loss terms with each of the switches, from one program: they share most of it."""
  configs = {"": tiny(**PLAIN)} | {key: tiny(**PLAIN, **{key: value}) for key, value in SWITCHES.items()}
  configs["below"] = tiny(**PLAIN, loss__light_from_below=1.0)
  return compiled(lambda images: {key: terms_of(config, images) for key, config in configs.items()})(images)


@pytest.mark.slow
@pytest.mark.parametrize("switch", SWITCHES)
def test_every_switch_does_something(switch, all_terms):
  terms, default_terms = all_terms[switch], all_terms[""]
  assert all(np.isfinite(float(value)) for value in terms.values())
  # far more than rounding: a mean of 2 B losses of up to log(2 B) + 2 / temperature
  assert abs(float(terms["loocc"] - default_terms["loocc"])) > 100 * mean_tolerance(2 * B, 3)


@pytest.mark.slow
def test_the_mean_light_of_a_batch_is_held_from_coming_from_below(all_terms, images):
  """From the lights' irradiance of surfaces that face up and down, which differ by their band 1 alone."""
  config = tiny(**PLAIN)
  outputs, _ = Stub("light", pdr.light_model.OUTPUTS[config.scene.light]).apply({"params": 1.0}, images)
  lights = pdr.light_model.from_outputs(outputs, config)
  faces = np.broadcast_to(np.float32([[[0, 1, 0], [0, -1, 0]]]), (B, 1, 2, 3))  # inward normals; y is down
  up, down = np.asarray(lighting.sh_irradiance(lights, faces), np.float64)[:, 0].T / np.pi
  lack = max(LEAST - (up - down).mean(), 0)
  assert lack > LEAST  # this light does come from below
  np.testing.assert_allclose(all_terms["below"]["light_from_below"], lack**2, rtol=1e-4)
  assert "light_from_below" not in all_terms[""]


@pytest.mark.parametrize("stop", [False, True])
def test_stop_gradient_cuts_at_the_re_render(stop):
  config = tiny(loocc__stop_gradient=stop)
  drawn = draw_any(jax.random.key(3)) | {"factor": jnp.arange(B) % 2 + 2}  # light, view
  blocks = {
    name: jnp.asarray(np.random.default_rng(5).uniform(0, 1, (B, 16)), jnp.float32) for name in loocc.FACTORS
  }

  def encode(picture):
    return {name: picture.mean((1, 2)) @ jnp.ones((3, 16)) + block[::-1] for name, block in blocks.items()}

  scene = random_scene(config)

  @compiled
  @jax.grad
  def gradient(albedo):
    return loocc.loss(encode, scene._replace(albedo=albedo), blocks, drawn, config, None).mean()

  grad = gradient(scene.albedo)
  assert bool(jnp.any(grad != 0)) is not stop


@pytest.mark.slow
def test_four_devices_equal_one(stepped, stepped_by_four):
  (one, one_metrics), (unaveraged, _) = stepped
  many, many_metrics = stepped_by_four
  for name, (total, count) in one_metrics.items():
    # A pixel in a thousand may change sides of a mesh's edge; else sums over 8 images of 1,024 pixels in
    # another order, of numbers of about one.
    off = B * mean_tolerance(B * S * S)
    np.testing.assert_allclose(many_metrics[name][0], total, rtol=1e-3, atol=off, err_msg=name)
    assert many_metrics[name][1] == float(count)
  # A direct comparison of gradients, as whole vectors: rounding differs between batches of 2 and of 8, and a
  # pixel that rounding moves across a mesh edge changes single entries by percents.
  for name in one.params:
    expected = first_moment(one, name)
    near, far = (
      np.linalg.norm(first_moment(other, name) - expected) / np.linalg.norm(expected)
      for other in (many, unaveraged)
    )
    assert near < 0.01, name
    assert far > 0.2, name  # what gradients that were not averaged would give


def test_validation_ignores_padding_and_batch_size(state, images):
  truth = random_scene(CONFIG)
  alone = jax.device_get(state)
  batch = {"image": images, "depth": truth.depth, "mask": jnp.ones((B, S, S)), "_mask": jnp.ones(B)}
  validate = jax.jit(partial(METHOD.validate, axis_name=None))
  whole = validate(alone, batch)
  parts = [
    validate(alone, batch | {"_mask": part.astype(jnp.float32)})
    for part in (jnp.arange(B) < 3, jnp.arange(B) >= 3)
  ]
  for name, (total, count) in whole.items():
    # Eight numbers, of at most 90 (degrees), added in two orders.
    off = sum_tolerance(B, 90)
    np.testing.assert_allclose(sum(p[name][0] for p in parts), total, rtol=0, atol=off, err_msg=name)
    # Counts are pictures, except for the scale of the relief, which is a ratio of two sums.
    np.testing.assert_allclose(sum(p[name][1] for p in parts), count, rtol=0, atol=off, err_msg=name)
    assert float(count) == B or name == "val/relief_scale"


# ---------------------------------------------------------------- what it is asked for besides training


@pytest.fixture(scope="module")
def parts(state, images):
  return jax.jit(METHOD.decompose)(jax.device_get(state.params), images)


def test_render_gives_back_the_reconstruction(parts):
  again = compiled(METHOD.render)(parts, light=parts["light"], view=parts["view"])
  # normals are off by a few roundings over a pixel's width, of 1/180 units; positions by those of 32 pixels
  same_but_for_outlines(again["image"], parts["reconstruction"], rounding(8, 180))
  same_but_for_outlines(again["mask"], parts["mask"], 0)


def test_a_rendered_scene_is_normalised_to_its_own_albedo():
  """The pictures of known scenes, without noise in the albedo: it comes back where they show it."""
  config, scene = tiny(), random_scene(tiny())
  v, u = np.mgrid[-1:1:S * 1j, -1:1:S * 1j]
  paint = 0.5 * np.stack([np.sin(2 * u + v), np.cos(3 * v), np.sin(2 * v - u)], -1)
  scene = scene._replace(albedo=jnp.asarray(np.broadcast_to(paint, (B, S, S, 3)), jnp.float32))
  rendering = renderer("sh")(scene)
  parts = scene._asdict() | {"shading": rendering.shading}
  unwrapped = compiled(lambda images, parts: normalized.normalize(
    {}, images, decompose=lambda variables, images: parts, config=config
  ))(rendering.image, parts)
  shown = np.asarray((unwrapped["visibility"] > 0.3) & (rendering.shading > 0.15))
  assert shown.mean() > 0.5
  error = np.abs(unwrapped["reflectance"] - (scene.albedo / 2 + 0.5))[shown]
  # Two bilinear samplings, each off by the curvature 9 / 4 of the paint times (2 / 31)^2 / 8, and outlines.
  assert np.median(error) < 5e-3 and np.quantile(error, 0.9) < 0.03


def spied_pictures():
  """The columns for two plain images, and the lights and views that were asked for."""
  lights, views = [], []
  flat, plain = jnp.ones((2, 4, 4)), jnp.zeros((2, 4, 4, 3))

  def decompose(variables, images):
    picture_parts = dict.fromkeys(("albedo", "normal", "canonical", "reconstruction"), plain)
    maps = dict.fromkeys(("depth", "shading", "confidence", "mask"), flat)
    return picture_parts | maps | {"light": jnp.zeros((2, 9)), "view": jnp.zeros((2, 6))}

  def render(parts, light=None, view=None):
    (lights if view is None else views).append(view if light is None else light)
    return {"image": plain}

  columns = pictures.pictures({}, plain, decompose=decompose, render=render)
  return columns, lights, views


def test_pictures_show_every_part_and_lights_and_turns_have_the_signs_of_the_conventions():
  columns, lights, views = spied_pictures()
  assert set(columns) == {*pictures.PARTS, *pictures.LIGHTS, *pictures.YAWS}
  # A normal that points into the scene and to the right belongs to a surface that faces left: lit from the
  # left it is brighter.
  normal = jnp.array([0.6, 0.0, 0.8]).reshape(1, 1, 1, 3)
  left, right = (float(lighting.sh_shading(light[:1], normal)[0, 0, 0]) for light in lights)
  assert left > right + 0.2
  yaws = [float(view[0, 1]) for view in views]
  assert yaws[0] > 0 and yaws[1] == 0 and yaws[2] == -yaws[0]


def test_feature_maps_end_in_the_features_and_carry_a_gradient(state, images):
  params = jax.device_get(state.params)

  @jax.jit
  def maps_and_gradient(params):
    maps = METHOD.feature_maps(params, images)

    def total(params):
      return sum(stages[0].sum() for stages in METHOD.feature_maps(params, images).values())

    return maps, METHOD.encode(params, images), jax.grad(total)(params)

  maps, features, slope = maps_and_gradient(params)
  assert set(maps) == {"depth", "albedo"}
  for name, stages in maps.items():
    assert [stage.shape[1:] for stage in stages] == [(16, 16, 8), (8, 8, 16), (4, 4, 32), (16,)]
    # The same network in another program: four layers of sums of up to 512 products.
    off = rounding(100, max(1.0, np.abs(features[name]).max()))
    np.testing.assert_allclose(stages[-1], features[name], rtol=0, atol=off)
    assert float(jnp.abs(slope[name]["encoder"]["down0"]["kernel"]).max()) > 0


def test_baselines_are_the_scores_of_a_constant_and_of_the_average_depth():
  """Against the metrics on all images at once; padding does not count, and other processes do."""
  rng = np.random.default_rng(8)
  depth = (1 + 0.05 * rng.normal(size=(6, S, S))).astype(np.float32)
  mask = np.ones((6, S, S), np.float32)
  valid = np.array([1, 1, 1, 1, 1, 0], np.float32)
  batches = [
    {"depth": depth[i : i + 3], "mask": mask[i : i + 3], "_mask": valid[i : i + 3]} for i in (0, 3)
  ]

  def twice(sums):
    return {name: 2 * value for name, value in sums.items()}

  @compiled
  def expected_of(constant):
    return geometry.baseline_scores(constant, depth[:5], mask[:5], fov=CONFIG.scene.fov)

  # Means over a picture: of squares of logarithms' differences of some 0.05, of which the root is taken; of
  # degrees, from normals that are off by roundings of depths over a pixel's width; and a correlation, of
  # products of depths' differences of 0.05.
  of_depth = rounding(4) / 0.05
  allowed = {"side": rounding(8), "mad": 57 * rounding(8, 180), "relief": 4 * of_depth}

  for sums in (dict, twice):  # a second process with the same data changes no mean
    scores = METHOD.baselines(batches, sums)
    assert set(scores) == {"constant depth", "average true depth"}
    for title, constant in (("constant depth", np.ones((S, S), np.float32)),
                            ("average true depth", depth[:5].mean(axis=0))):
      expected = expected_of(constant)
      for name, off in allowed.items():
        np.testing.assert_allclose(
          scores[title][f"val/{name}"], expected[name].mean(), rtol=0, atol=off, err_msg=name
        )
  assert METHOD.baselines([{"image": depth, "_mask": valid}], dict) == {}
