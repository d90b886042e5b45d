"""The parts of a normalised picture against float64 loops, SciPy and ray casting."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from support import render_oracles as oracle
from support.unwrap_scenes import FAR, NEAR, PIXEL, SIDE, VIEW, f32, located, project, relief

from pdr_jax.errors import UserError
from pdr_jax.render import reproject, unwrap
from pdr_jax.render.camera import pinhole


@functools.partial(jax.jit, static_argnames="side")
def locate(depth, view, side):
  return unwrap.correspondences(depth, view, pinhole(side), side)


@pytest.mark.parametrize("finer", [1, 2])
def test_correspondences_against_a_loop(finer):
  """At twice the side, canonical pixels lie a quarter of the model's pixels around its centres."""
  depth = relief(SIDE * finer)
  where = locate(*f32(depth[None], VIEW[None]), SIDE)
  focal, centre = oracle.focal_length(SIDE), (SIDE - 1) / 2
  eye = oracle.to_canonical(np.zeros(3), VIEW)
  points = np.empty((SIDE * finer, SIDE * finer, 3))
  for i, j in np.ndindex(depth.shape):
    row, column = ((x + 0.5) / finer - 0.5 for x in (i, j))
    points[i, j] = depth[i, j] * np.array([(column - centre) / focal, (row - centre) / focal, 1.0])
  moved = oracle.to_camera(points, VIEW)
  u, v = project(moved, SIDE)
  np.testing.assert_allclose(where.u[0], u, atol=PIXEL)
  np.testing.assert_allclose(where.v[0], v, atol=PIXEL)
  np.testing.assert_allclose(where.depth[0], moved[..., 2], atol=1e-6)
  for i, j in [(3, 4), (7, 7), (10, 5), (6, 12)]:
    normal = np.cross(points[i, j + 1] - points[i, j - 1], points[i + 1, j] - points[i - 1, j])
    ray = points[i, j] - eye
    cosine = normal @ ray / np.linalg.norm(normal) / np.linalg.norm(ray)
    np.testing.assert_allclose(where.cosine[0, i, j], cosine, atol=1e-4)  # steps of 1e-2, rounded at 6e-8


def test_the_cosine_is_the_sphere_s():
  """A sphere about the pivot: its outward normal is the direction from the pivot, whatever the view."""
  side, radius = 33, 0.3
  rays = oracle.surface(np.ones((side, side)))
  along, length = rays[..., 2], (rays**2).sum(-1)
  depth = (along - np.sqrt(along**2 - length * (1 - radius**2))) / length  # |ray t - (0, 0, 1)| = radius
  where = locate(*f32(depth[None], VIEW[None]), side)
  points = rays * depth[..., None]
  inward, ray = oracle.PIVOT - points, points - oracle.to_canonical(np.zeros(3), VIEW)
  expected = (inward * ray).sum(-1) / radius / np.linalg.norm(ray, axis=-1)
  # Central differences over two pixels of 1/50 of the radius.
  np.testing.assert_allclose(where.cosine[0, 1:-1, 1:-1], expected[1:-1, 1:-1], atol=2e-3)


def keys(distance):
  """Keys 1981, equation 15."""
  x = abs(distance)
  near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
  return near if x < 1 else far if x < 2 else 0.0


def test_enlarging_against_a_loop():
  maps = np.random.default_rng(0).normal(size=(1, 6, 6, 2))
  for side in (6, 9, 12):
    weights = np.array([[keys((i + 0.5) * 6 / side - 0.5 - k) for k in range(6)] for i in range(side)])
    weights /= weights.sum(axis=1, keepdims=True)
    expected = np.einsum("ij,kl,bjlc->bikc", weights, weights, maps)
    ours = unwrap.enlarge(*f32(maps), side)
    np.testing.assert_allclose(ours, expected, atol=5e-6)  # 16 terms below 4
    np.testing.assert_allclose(unwrap.enlarge(ours[..., 0], side), ours[..., 0], atol=0)


@pytest.mark.parametrize("pixels", [6, 15])
def test_texture_against_scipy(pixels):
  """Positions count in the model's six pixels. Nothing fades in the picture's outermost half pixel."""
  rng = np.random.default_rng(1)
  image, uv = rng.uniform(-1, 1, (1, pixels, pixels, 2)), rng.uniform(-0.5, 5.5, (2, 1, 8, 8))
  where = unwrap.Correspondence(*f32(*uv), jnp.ones((1, 8, 8)), jnp.ones((1, 8, 8)))
  column, row = ((x[0] + 0.5) * pixels / 6 - 0.5 for x in uv)
  expected = [map_coordinates(image[0, ..., c], [row, column], order=1, mode="nearest") for c in range(2)]
  np.testing.assert_allclose(unwrap.texture(*f32(image), where, 6)[0], np.stack(expected, -1), atol=1e-5)


def test_texture_fades_beyond_the_rim_and_is_zero_behind_the_camera():
  u = jnp.array([[[-0.5, -1.0, -1.5, 5.5, 6.0, unwrap.OUTSIDE]]]).repeat(6, 1)
  where = unwrap.Correspondence(u, jnp.full_like(u, 2.0), jnp.ones_like(u), jnp.ones_like(u))
  sampled = unwrap.texture(jnp.ones((1, 6, 6, 1)), where, 6)
  np.testing.assert_allclose(sampled[0, 0, :, 0], [1, 0.5, 0, 1, 0.5, 0], atol=1e-6)


def test_a_picture_smaller_than_the_model_is_refused():
  where = unwrap.Correspondence(*[jnp.zeros((1, 6, 6))] * 4)
  with pytest.raises(UserError, match="side 5 is smaller than the model's 6"):
    unwrap.texture(jnp.zeros((1, 5, 5, 3)), where, 6)


@pytest.mark.parametrize("view", [VIEW, [0.0, 0.9, 0, 0, 0, 0], [-0.5, -0.4, 0.3, 0.03, 0.02, 0]])
def test_visibility_against_a_ray_caster(view):
  """By definition, from ray-cast depths; and by geometry: what the ray to a point meets before hides it."""
  depth, view = relief(SIDE), np.array(view)
  where, visible = located(*f32(depth[None], view[None]))
  visible, cosine = np.asarray(visible[0]), np.asarray(where.cosine[0])
  moved = oracle.to_camera(oracle.surface(depth), view)
  corners = oracle.triangles(oracle.to_camera(oracle.surface(depth, widen=reproject.BORDER_OVERLAP), view))
  u, v = project(moved, SIDE)
  inside = (np.minimum(u, v) >= -0.5) & (np.maximum(u, v) <= SIDE - 0.5)
  facing = cosine >= unwrap.SMALLEST_COSINE
  tolerance = unwrap.DEPTH_TOLERANCE * (FAR - NEAR)
  seen = np.minimum(oracle.cast_rays(corners, SIDE)[0], FAR + 0.2)
  error = np.abs(map_coordinates(seen, [v, u], order=1, mode="nearest") - moved[..., 2])
  reached = np.minimum(oracle.cast_rays(corners, SIDE, slack=1e-3)[0], FAR + 0.2)
  on_edge = map_coordinates(np.float64(reached != seen), [v, u], order=1, mode="nearest") > 0
  certain = ~on_edge & (abs(error - tolerance) > 1e-5)
  np.testing.assert_array_equal((visible > 0)[certain], (inside & facing & (error <= tolerance))[certain])
  np.testing.assert_allclose(visible[visible > 0], cosine[visible > 0], atol=1e-6)
  assert certain.mean() > 0.7

  inverse, gap = np.linalg.inv(np.swapaxes(corners, 1, 2)), np.empty_like(depth)
  for i, j in np.ndindex(depth.shape):
    scaled = inverse @ (moved[i, j] / moved[i, j, 2])
    hit = (scaled / scaled.sum(axis=1, keepdims=True)).min(axis=1) >= -1e-9
    gap[i, j] = moved[i, j, 2] - (1 / scaled.sum(axis=1))[hit].min()
  hidden = gap > 2 * tolerance
  assert np.sum(visible[hidden] > 0) <= 0.1 * hidden.sum()
  if view[1] == 0.9:
    assert hidden.sum() > 5


def test_nothing_is_visible_outside_the_picture_whatever_the_tolerance():
  u = jnp.broadcast_to(jnp.array([-0.75, -0.5, 0.0, 4.0, 5.5, 5.75]), (1, 6, 6))
  middle, one = jnp.full_like(u, 2.0), jnp.ones_like(u)
  for where in ((u, middle), (middle, u.swapaxes(1, 2))):
    visible = unwrap.visibility(unwrap.Correspondence(*where, one, one), one, 1.0, tolerance=1.0)
    rows = visible if where[1] is middle else visible.swapaxes(1, 2)
    np.testing.assert_array_equal(rows[0, 3], [0, 1, 1, 1, 1, 0])


def test_visibility_has_no_gradient():
  where, _ = located(*f32(relief(SIDE)[None], VIEW[None]))

  def total(where, seen):
    return unwrap.visibility(where, seen, FAR - NEAR).sum()

  value, slopes = jax.value_and_grad(total, argnums=(0, 1))(where, where.depth)
  assert value > 0
  for slope in jax.tree.leaves(slopes):
    np.testing.assert_array_equal(slope, 0.0)


def test_reflectance_and_median_against_numpy():
  rng = np.random.default_rng(2)
  texture, shading = rng.uniform(-1, 1.5, (3, 5, 5, 3)), rng.uniform(0, 1.2, (3, 5, 5))
  number = np.arange(25)
  shown = np.stack([number < 12, number < 0, number % 2 == 0])  # 12, none and 13 pixels
  visible = 0.7 * shown.reshape(3, 5, 5)
  expected = np.clip((texture / 2 + 0.5) / np.maximum(shading, 0.1)[..., None], 0, 2)
  ours = unwrap.reflectance(*f32(texture, shading))
  np.testing.assert_allclose(ours, expected, atol=1e-6)
  coloured = unwrap.reflectance(*f32(texture, np.repeat(shading[..., None], 3, -1)))
  np.testing.assert_allclose(coloured, ours, rtol=3e-7)  # one division
  divided = np.asarray(unwrap.divide_by_median(ours, *f32(visible)))
  luminance = expected @ [0.2126, 0.7152, 0.0722]
  for k in (0, 2):
    median = np.median(luminance[k][visible[k] > 0])
    np.testing.assert_allclose(divided[k], expected[k] / median, rtol=2e-6, atol=1e-6)
  np.testing.assert_array_equal(divided[1], ours[1])  # nothing is visible
  black = jnp.zeros((1, 5, 5, 1))
  np.testing.assert_array_equal(unwrap.divide_by_median(black, jnp.ones((1, 5, 5))), black)


@pytest.mark.parametrize("average", [True, False])
def test_completion_against_a_loop(average):
  rng = np.random.default_rng(3)
  reflectance, albedo = rng.uniform(0, 2, (2, 6, 6, 3)), rng.uniform(-1, 1, (2, 6, 6, 3))
  visible = np.where(rng.random((2, 6, 6)) < 0.5, rng.uniform(0.2, 1, (2, 6, 6)), 0.0)
  expected = albedo / 2 + 0.5
  for b, v, u in np.ndindex(visible.shape):
    own, other = visible[b, v, u], visible[b, v, 5 - u]
    other *= 1.0 if average else 1 - min(own / 0.5, 1)
    if own + other > 0:
      expected[b, v, u] = (own * reflectance[b, v, u] + other * reflectance[b, v, 5 - u]) / (own + other)
  actual = unwrap.complete(*f32(reflectance, visible, albedo), average=average)
  np.testing.assert_allclose(actual, expected, atol=2e-6)
  if not average:  # what is seen well keeps its asymmetry, to the rounding of one division
    np.testing.assert_allclose(actual[visible >= 0.5], reflectance[visible >= 0.5], atol=1e-6)
  unseen = unwrap.complete(*f32(reflectance, 0 * visible, albedo), average=average)
  np.testing.assert_allclose(unseen, albedo / 2 + 0.5, atol=1e-7)
