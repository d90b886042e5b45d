"""Whole normalised pictures: exact truth of analytic scenes and of an embedded world, symmetry, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from support import render_oracles as oracle
from support.unwrap_scenes import (
  FAR,
  NEAR,
  PIXEL,
  SIDE,
  VIEW,
  ball,
  f32,
  normalize,
  pictures,
  project,
  psnr,
  relief,
  scene,
)

from pdr_jax.render import reproject, unwrap
from pdr_jax.render.camera import pinhole


@pytest.mark.parametrize("side", [SIDE, 2 * SIDE])
def test_at_the_zero_view_and_flat_light_the_texture_is_the_picture(side):
  """At twice the side too, where picture and canonical maps both have four pixels for one of the model's."""
  image, depth = pictures(side), relief(SIDE)[None]
  one, none = np.ones((1, SIDE, SIDE)), np.zeros((1, SIDE, SIDE, 3))
  actual = normalize(*f32(image, depth, np.zeros((1, 6)), one, none), side=side)
  np.testing.assert_allclose(actual.texture, image, atol=2 * PIXEL)
  np.testing.assert_allclose(actual.reflectance, image / 2 + 0.5, atol=2 * PIXEL)
  assert np.asarray(actual.visibility).min() > unwrap.SMALLEST_COSINE  # all of it, rim included


@pytest.mark.parametrize("pixels, least", [(SIDE, 34), (4 * SIDE, 45)])
def test_an_analytic_scene_gives_back_its_albedo_where_visible(pixels, least):
  """Bilinear samples err by the squared pixel times curvature / 8: four times as fine, up to 24 dB better."""
  image, depth, shading, albedo = ball(SIDE, pixels, VIEW)
  actual = normalize(*f32(*(x[None] for x in (image, depth, VIEW, shading, albedo))))
  visible = np.asarray(actual.visibility[0]) > 0
  assert 0.5 < visible.mean() < 1
  assert psnr(actual.reflectance[0], albedo / 2 + 0.5, visible) > least
  wrong = normalize(*f32(*(x[None] for x in (image, depth, 0 * VIEW, shading, albedo))))
  assert psnr(wrong.reflectance[0], albedo / 2 + 0.5, visible) < least - 10  # it matters


def test_an_analytic_scene_at_four_times_the_model_s_side():
  image, depth, shading, albedo = ball(SIDE, 4 * SIDE, VIEW)
  *_, truth = ball(4 * SIDE, SIDE, VIEW)
  actual = normalize(*f32(*(x[None] for x in (image, depth, VIEW, shading, albedo))), side=4 * SIDE)
  inner = np.zeros((4 * SIDE, 4 * SIDE), bool)
  inner[6:-6, 6:-6] = True  # bicubic maps are renormalised within two of the model's pixels of the rim
  assert psnr(actual.reflectance[0], truth / 2 + 0.5, inner & (np.asarray(actual.visibility[0]) > 0)) > 40


def test_a_mirrored_input_gives_a_mirrored_output():
  arguments = jax.jit(lambda: scene(SIDE, VIEW, lean=0.01))()
  plain = normalize(*arguments, average=False)
  image, depth, view, shading, albedo = (jnp.flip(x, 2) if x.ndim > 2 else x for x in arguments)
  view = view * jnp.float32([[1, -1, -1, -1, 1, 1]])
  mirrored = normalize(image, depth, view, shading, albedo, average=False)
  same = (plain.visibility > 0) == jnp.flip(mirrored.visibility > 0, 2)
  assert same.mean() > 0.97  # the mesh's diagonals do not turn with the picture: its depth differs a little
  for name in ("texture", "reflectance", "visibility"):
    ours, theirs = np.asarray(getattr(plain, name)), np.flip(getattr(mirrored, name), 2)
    np.testing.assert_allclose(ours[np.asarray(same)], theirs[np.asarray(same)], atol=1e-3)
  both = np.asarray(same & jnp.flip(same, 2))
  ours, theirs = np.asarray(plain.completed), np.flip(mirrored.completed, 2)
  np.testing.assert_allclose(ours[both], theirs[both], atol=1e-3)


def test_the_hidden_half_is_filled_from_its_mirror():
  """A symmetric scene turned by 50 degrees: half of it is unseen, and comes out right all the same."""
  view = np.array([0, 0.9, 0, 0, 0, 0])
  lens, depth, albedo = pinhole(33), relief(33)[None], pictures(33)
  albedo = (albedo + np.flip(albedo, 2)) / 2
  one, model = np.ones((1, 33, 33)), np.full_like(albedo, 0.9)

  @jax.jit
  def everything(depth, albedo, view, one, model):
    seen = reproject.depth_at_view(depth, view, lens, near=0.7, far=1.3)
    image = jnp.where(seen[..., None] < 1.3, reproject.warp_to_view(albedo, seen, view, lens), -1.0)
    unwrapped = functools.partial(unwrap.normalize, image, depth, view, one, model, lens, near=NEAR, far=FAR)
    return unwrapped(average=True), unwrapped(average=False)

  for actual in everything(*f32(depth, albedo, view[None], one, model)):
    visible = np.asarray(actual.visibility) > 0
    unseen, shown = ~visible & np.flip(visible, 2), visible | np.flip(visible, 2)
    assert unseen.mean() > 0.15
    truth = albedo / 2 + 0.5
    assert psnr(actual.completed, truth, shown) > 30 > psnr(actual.reflectance, truth, unseen)
    np.testing.assert_allclose(np.asarray(actual.completed)[~shown], 0.95, atol=1e-6)  # the model's albedo


@pytest.mark.users_programs
def test_an_embedded_world_gives_back_its_albedo_where_visible():
  """Drawn heads, rendered from the front for the exact truth, and at their views for the picture."""
  from pdr_jax.data.scenes import builder, heads, render_scene
  side = 32
  drawn = builder.stack([heads.draw(0, "train", k)[0] for k in range(2)])
  render = jax.jit(lambda s: render_scene.render(heads.shape_model(), s, side))
  seen, truth = render(drawn), render({**drawn, "view": np.zeros_like(drawn["view"])})
  image, albedo = (2 * jnp.stack(x["image" if x is seen else "albedo"], -1) - 1 for x in (seen, truth))
  shading = render_scene.shade_planes(drawn, truth["normal"])
  depth = jnp.where(truth["hit"], truth["depth"], 1.1)
  actual = normalize(image, depth, jnp.asarray(drawn["view"]), shading, albedo)
  visible = np.asarray((actual.visibility > 0.4) & truth["hit"])
  assert visible.mean() > 0.2
  ours, raw = (psnr(x, albedo / 2 + 0.5, visible) for x in (actual.reflectance, image / 2 + 0.5))
  assert ours > 20 and ours > raw + 5


def test_gradients_against_differences():
  """Of texture and reflectance by picture, depth, view and shading, in float64 by the loops above."""
  image, depth, view = pictures(SIDE)[0], relief(SIDE), VIEW
  shading = 0.5 + 0.4 * pictures(SIDE, 5)[0, ..., 0]
  rays = oracle.surface(np.ones((SIDE, SIDE)))
  u, v = project(oracle.to_camera(rays * depth[..., None], view), SIDE)
  clear = (np.minimum(abs(u - np.round(u)), abs(v - np.round(v))) > 1e-3) & (np.minimum(u, v) > 0)
  clear &= np.maximum(u, v) < SIDE - 1
  weight = np.where(clear[..., None], np.random.default_rng(6).normal(size=(SIDE, SIDE, 3)), 0.0)
  assert clear.mean() > 0.5

  def total(image, depth, view, shading):
    u, v = project(oracle.to_camera(rays * depth[..., None], view), SIDE)
    planes = [map_coordinates(image[..., c], [v, u], order=1, mode="nearest") for c in range(3)]
    sampled = np.stack(planes, -1)
    unlit = (sampled / 2 + 0.5) / np.maximum(shading, 0.1)[..., None]
    return np.sum(weight * (sampled + np.clip(unlit, 0, 2)))

  @jax.jit
  def gradients(*arguments):
    def ours(image, depth, view, shading):
      where = unwrap.correspondences(depth[None], view[None], pinhole(SIDE), SIDE)
      sampled = unwrap.texture(image[None], where, SIDE)
      return jnp.sum(weight.astype(np.float32) * (sampled + unwrap.reflectance(sampled, shading[None]))[0])
    return jax.grad(ours, argnums=(0, 1, 2, 3))(*arguments)

  arguments = [image, depth, view, shading]
  rng, step = np.random.default_rng(7), 1e-6
  for which, slope in enumerate(gradients(*f32(*arguments))):
    directions = np.eye(6) if which == 2 else rng.normal(size=(4, *arguments[which].shape))
    for direction in directions:
      ahead, behind = (total(*[a + s * direction if k == which else a for k, a in enumerate(arguments)])
                       for s in (step, -step))
      expected = (ahead - behind) / (2 * step)
      actual, atol = np.sum(np.float64(slope) * direction), 3e-3 * float(jnp.abs(slope).max())
      np.testing.assert_allclose(actual, expected, rtol=3e-3, atol=atol)


@pytest.mark.parametrize("case", ["no light", "nothing visible", "behind the camera", "edge on", "black"])
def test_gradients_are_finite_on_degenerate_input(case):
  image, depth, view = pictures(SIDE), relief(SIDE)[None], VIEW[None].copy()
  shading, albedo = np.ones((1, SIDE, SIDE)), np.zeros_like(image)
  if case == "no light":
    shading *= 0
  if case == "black":
    image = 0 * image - 1
  view[0] = {"nothing visible": [0, np.pi, 0, 0, 0, 0], "behind the camera": [0, 0, 0, 0, 0, -1.0],
             "edge on": [0, np.pi / 2, 0, 0, 0, 0]}.get(case, view[0])

  @jax.jit
  def everything(*arguments):
    def loss(*arguments):
      actual = unwrap.normalize(*arguments, pinhole(SIDE), near=NEAR, far=FAR)
      units = unwrap.divide_by_median(actual.completed, actual.visibility)
      return sum(jnp.sum(x**2) for x in (*actual, units)), actual
    return jax.value_and_grad(loss, argnums=range(5), has_aux=True)(*arguments)

  (value, actual), slopes = everything(*f32(image, depth, view, shading, albedo))
  assert np.isfinite(value) and all(np.isfinite(s).all() for s in slopes)
  if case in ("nothing visible", "behind the camera"):
    np.testing.assert_array_equal(actual.visibility, 0.0)
    np.testing.assert_allclose(actual.completed, 0.5, atol=1e-6)  # the model's albedo everywhere
  if case == "behind the camera":
    np.testing.assert_array_equal(actual.texture, 0.0)


def test_under_vmap_as_in_a_batch():
  views = np.stack([VIEW, 0.5 * VIEW])
  arguments = f32(*(np.repeat(x, 2, 0) for x in (pictures(SIDE), relief(SIDE)[None])), views)
  arguments += f32(np.ones((2, SIDE, SIDE)), np.zeros((2, SIDE, SIDE, 3)))
  batched = normalize(*arguments)
  mapped = jax.vmap(normalize)(*[x[:, None] for x in arguments])
  for ours, theirs in zip(mapped, batched, strict=True):
    np.testing.assert_allclose(ours[:, 0], theirs, atol=1e-4)
