"""Depth and colours at the input view against a ray caster and a warp in NumPy float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import render_oracles as oracle
from support.tolerances import rounding

from pdr_jax.render import reproject
from pdr_jax.render.camera import pinhole

NEAR, FAR = 0.8, 1.2


@functools.partial(jax.jit, static_argnames="side")
def depth_at_view(depth, view, side):
  return reproject.depth_at_view(depth, view, pinhole(side), near=NEAR, far=FAR)


@functools.partial(jax.jit, static_argnames="side")
def warp_to_view(image, seen, view, side):
  return reproject.warp_to_view(image, seen, view, pinhole(side))

VIEWS = np.array(
  [
    [0.0, 0.0, 0.0, 0.03, 0.0, 0.0],
    [0.4, 0.0, 0.0, 0.0, 0.0, 0.0],
    [0.0, -0.5, 0.0, 0.0, 0.0, 0.0],
    [0.3, 0.4, -0.6, 0.02, -0.03, 0.05],
    [-0.2, 1.0, 0.2, -0.02, 0.0, 0.0],
  ]
)


def smooth_depth(side, seed=0):
  v, u = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
  rng = np.random.default_rng(seed)
  return (
    1.0
    + 0.04 * (u * u + v * v - 0.7)
    + sum(0.008 * np.sin(rng.uniform(1, 4) * u + rng.uniform(1, 4) * v + i) for i in range(3))
  )


@pytest.mark.parametrize("side", [7, 48, 64])
@pytest.mark.parametrize("rough", [0.0, 0.1])
def test_zero_view_gives_back_the_depth_without_holes(side, rough):
  """Borders included.

  Every border pixel lies exactly on the mesh's border, where rounding alone would punch holes.
  """
  depth = np.random.default_rng(side).uniform(1 - rough, 1 + rough, (2, side, side)).astype(np.float32)
  actual = np.asarray(depth_at_view(depth, jnp.zeros((2, 6)), side))
  assert (actual < FAR).all()
  # the depth's own rounding, and neighbours' difference over the rounding of the vertices' coordinates
  off = rounding(8) + 2 * rough * rounding(4, side)
  np.testing.assert_allclose(actual[:, 1:-1, 1:-1], depth[:, 1:-1, 1:-1], rtol=0, atol=off)
  # the ring is widened along both axes, and neighbours differ by up to 2 rough
  off += 4 * rough * reproject.BORDER_OVERLAP
  np.testing.assert_allclose(actual, depth, rtol=0, atol=off)


@pytest.mark.parametrize("rough", [0.0, 0.1])
def test_zero_view_gives_back_the_image(rough):
  side = 32
  rng = np.random.default_rng(1)
  depth = rng.uniform(1 - rough, 1 + rough, (2, side, side)).astype(np.float32)
  image = rng.normal(size=(2, side, side, 3)).astype(np.float32)
  seen = depth_at_view(depth, jnp.zeros((2, 6)), side)
  off = 8 * rounding(8, side)  # the samples' coordinates, times the largest difference of two pixels
  np.testing.assert_allclose(warp_to_view(image, seen, jnp.zeros((2, 6)), side), image, rtol=0, atol=off)


@pytest.mark.parametrize("view", VIEWS)
def test_depth_at_view_against_ray_caster(view):
  side = 18
  depth = smooth_depth(side)
  corners = oracle.triangles(oracle.to_camera(oracle.surface(depth, widen=reproject.BORDER_OVERLAP), view))
  expected, _ = oracle.cast_rays(corners, side)
  actual = np.asarray(depth_at_view(depth.astype(np.float32), view.astype(np.float32), side))
  # pixels this near to a silhouette may fall either way
  reached, _ = oracle.cast_rays(corners, side, slack=0.01)
  certain = np.isinf(reached) | np.isfinite(expected)
  assert certain.mean() > 0.95 and np.isfinite(expected).mean() > 0.3
  np.testing.assert_allclose(
    actual[certain],
    np.clip(np.where(np.isinf(expected), FAR, expected), NEAR, FAR)[certain],
    rtol=0,
    atol=rounding(16, FAR),
  )  # a dozen operations on depths


def test_depth_is_clamped():
  actual = depth_at_view(jnp.ones((8, 8)), jnp.array([0, 0, 0, 0, 0, 0.5]), 8)
  np.testing.assert_array_equal(actual, np.float32(FAR))
  actual = depth_at_view(jnp.ones((8, 8)), jnp.array([0, 0, 0, 0, 0, -0.5]), 8)
  np.testing.assert_array_equal(actual, np.float32(NEAR))


@pytest.mark.parametrize("view", VIEWS)
def test_warp_against_loop(view):
  side = 12
  rng = np.random.default_rng(2)
  image, seen = rng.normal(size=(side, side, 3)), rng.uniform(NEAR, FAR, (side, side))
  actual = warp_to_view(image.astype(np.float32), seen.astype(np.float32), view.astype(np.float32), side)
  # the coordinates' rounding times the largest difference of pixels
  off = 8 * rounding(8, pinhole(side).focal)
  np.testing.assert_allclose(actual, oracle.warp(image, seen, view), rtol=0, atol=off)


def test_gradient_of_depth_by_view_and_depth_against_differences():
  """Numerical differences in float64 with the ray caster.

  They are taken at the pixels that neither surface edge nor silhouette passes.
  """
  side, view = 10, np.array([0.2, -0.3, 0.1, 0.01, -0.01, 0.02])
  depth = smooth_depth(side, 3)
  def mesh(depth, view):
    return oracle.to_camera(oracle.surface(depth, widen=reproject.BORDER_OVERLAP), view)
  def cast(depth, view):
    return oracle.cast_rays(oracle.triangles(mesh(depth, view)), side)
  clear = (cast(depth, view)[1] > 0.02) & np.isfinite(cast(depth, view)[0])
  assert clear.sum() > 20
  cotangent = np.where(clear, np.random.default_rng(4).normal(size=(side, side)), 0.0)
  def total(d, w):
    return np.where(clear, cast(d, w)[0], 0.0).ravel() @ cotangent.ravel()
  def seen(d, w):
    return jnp.sum(depth_at_view(d, w, side) * cotangent.astype(np.float32))

  by_depth, by_view = jax.jit(jax.grad(seen, argnums=(0, 1)))(
    jnp.asarray(depth, jnp.float32), jnp.asarray(view, jnp.float32)
  )
  step = 1e-6
  for axis in range(6):
    moved = step * np.eye(6)[axis]
    slope = (total(depth, view + moved) - total(depth, view - moved)) / (2 * step)
    # derivatives of up to one, by faces of a small area
    np.testing.assert_allclose(by_view[axis], slope, rtol=2e-3, atol=2e-4)
  for pixel in [(2, 3), (5, 5), (7, 4)]:
    moved = np.zeros_like(depth)
    moved[pixel] = step
    slope = (total(depth + moved, view) - total(depth - moved, view)) / (2 * step)
    np.testing.assert_allclose(by_depth[pixel], slope, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize(
  "view",
  [
    [0, 0, 0, 0, 0, 0],
    [1.5707964, 0, 0, 0, 0, 0],
    [0, 3.1415927, 0, 0, 0, 0],
    [1, -1, 1, 0.1, -0.1, 0],
    [0, 0, 0, 0, 0, -1],
    [0, 0, 0, 0, 0, -3],
    [0, 0, 0, 9, 0, 0],
  ],
)
def test_gradients_are_finite_at_every_view(view):
  """Zero, edge-on, from behind, extreme, the camera inside the surface, and behind the surface.

  Also a surface out of the picture.
  """
  side = 9
  depth = jnp.asarray(smooth_depth(side), jnp.float32)
  image = jnp.asarray(np.random.default_rng(5).normal(size=(side, side, 3)), jnp.float32)

  def loss(depth, image, view):
    seen = depth_at_view(depth, view, side)
    return (warp_to_view(image, seen, view, side) ** 2).sum() + seen.sum()

  value, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(
    depth, image, jnp.array(view, jnp.float32)
  )
  assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)
