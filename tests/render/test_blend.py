"""The SoftRas blend against a naive loop in float64, and its hard limit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.programs import compiled
from support.tolerances import rounding

from pdr_jax.render.blend import soft_blend
from pdr_jax.render.rasterize import Fragments, rasterize


def naive(fragments, colors, sigma, gamma, background, near=0.1, far=100.0):
  """The formula of the docstring, one pixel at a time."""
  face, depth, _, signed = (np.asarray(x, np.float64) for x in fragments)
  shape = face.shape[:-1]
  rgb, alpha = np.zeros((*shape, 3)), np.zeros(shape)
  for at in np.ndindex(shape):
    background_weight = np.exp(1e-3 / gamma)
    weights, transparent = [], 1.0
    for k in np.flatnonzero(face[at] >= 0):
      coverage = 1 / (1 + np.exp(signed[at][k] / sigma))
      zeta = (1 / depth[at][k] - 1 / far) / (1 / near - 1 / far)
      weights.append((coverage * np.exp(np.clip(zeta, 0, 1) / gamma), k))
      transparent *= 1 - coverage
    total = sum(w for w, _ in weights) + background_weight
    rgb[at] = background_weight / total * np.asarray(background) + sum(
      (w / total * colors[at][k] for w, k in weights), np.zeros(3)
    )
    alpha[at] = 1 - transparent
  return rgb, alpha


def random_fragments(seed=0, height=5, width=4, count=3):
  rng = np.random.RandomState(seed)
  actual = np.sort(rng.rand(height, width, count) < 0.6, axis=-1)[..., ::-1]
  depth = np.sort(rng.uniform(0.5, 3, actual.shape), axis=-1)
  return Fragments(
    np.where(actual, rng.randint(0, 9, actual.shape), -1).astype(np.int32),
    np.where(actual, depth, 0).astype(np.float32),
    np.zeros((*actual.shape, 3), np.float32),
    np.where(actual, rng.randn(*actual.shape), 0).astype(np.float32),
  ), rng.rand(*actual.shape, 3).astype(np.float32)


@pytest.mark.parametrize(
  "sigma,gamma,near,far", [(1.0, 0.1, 0.1, 100.0), (0.05, 0.02, 0.4, 5.0), (3.0, 1.0, 1.0, 2.0)]
)
def test_against_naive_loop(sigma, gamma, near, far):
  fragments, colors = random_fragments()
  background = np.array([0.2, 0.5, 0.9], np.float32)
  rgb, alpha = compiled(
    lambda c: soft_blend(fragments, c, sigma=sigma, gamma=gamma, background=background, near=near, far=far)
  )(colors)
  expected_rgb, expected_alpha = naive(fragments, colors, sigma, gamma, background, near, far)
  # the exponents' rounding is the weights' relative error: depths over gamma, squared distances over sigma
  off = rounding(8, 1 / gamma + 3 / sigma)
  np.testing.assert_allclose(rgb, expected_rgb, rtol=0, atol=off)
  np.testing.assert_allclose(alpha, expected_alpha, rtol=0, atol=off)


def test_background_of_every_shape():
  fragments, colors = random_fragments(1)
  image = np.random.RandomState(2).rand(5, 4, 3).astype(np.float32)
  rgb, _ = soft_blend(fragments, colors, sigma=0.1, gamma=0.1, background=image)
  for at in ((0, 0), (4, 3)):
    one, _ = soft_blend(fragments, colors, sigma=0.1, gamma=0.1, background=image[at])
    np.testing.assert_allclose(rgb[at], one[at], rtol=0, atol=rounding(8))  # the same sum in another program


def test_hard_limit_is_the_z_buffer():
  rng = np.random.RandomState(3)
  vertices = jnp.asarray(
    np.concatenate([rng.uniform(-2, 12, (30, 2)), rng.uniform(0.6, 1.6, (30, 1))], -1), jnp.float32
  )
  faces = jnp.arange(30, dtype=jnp.int32).reshape(10, 3)
  palette = rng.rand(10, 3).astype(np.float32)
  background = np.array([1.0, 0.0, 0.5], np.float32)
  hard = jax.tree.map(
    np.asarray, compiled(lambda v: rasterize(v, faces, height=10, width=10, faces_per_pixel=2))(vertices)
  )
  covered = hard.face[..., 0] >= 0
  soft = compiled(lambda v: rasterize(v, faces, height=10, width=10, faces_per_pixel=6, blur_radius=1.0))(
    vertices
  )
  rgb, alpha = soft_blend(
    soft, palette[np.maximum(soft.face, 0)], sigma=1e-9, gamma=1e-3, background=background, near=0.5, far=2.0
  )
  # not in the limit yet: a pixel next to an outline, or two faces in it nearly equally near
  outline = np.where(soft.face >= 0, np.abs(soft.signed_distance_sq), 1).min(-1)
  zeta = (1 / np.where(hard.face >= 0, hard.depth, 9) - 1 / 2) / (1 / 0.5 - 1 / 2)
  clear = (outline > 1e-5) & (zeta[..., 0] - zeta[..., 1] > 0.01) | ~covered
  assert clear.mean() > 0.9 and covered.mean() > 0.3 and (~covered).mean() > 0.05
  np.testing.assert_allclose(np.asarray(alpha)[clear], covered[clear], rtol=0, atol=rounding(8))  # exp(-1e4)
  expected = np.where(covered[..., None], palette[np.maximum(hard.face[..., 0], 0)], background)
  # five faces behind the nearest, each with a weight of at most exp(-0.01 / gamma)
  off = 5 * np.exp(-0.01 / 1e-3) + rounding(8)
  np.testing.assert_allclose(np.asarray(rgb)[clear], expected[clear], rtol=0, atol=off)


def test_finite_at_extremes():
  fragments, colors = random_fragments(4)
  fragments = fragments._replace(signed_distance_sq=fragments.signed_distance_sq * 1e6)
  for sigma, gamma in ((1e-8, 1e-7), (1e4, 1e4)):
    def loss(depth, distance, colors, sigma=sigma, gamma=gamma):
      replaced = fragments._replace(depth=depth, signed_distance_sq=distance)
      rgb, alpha = soft_blend(replaced, colors, sigma=sigma, gamma=gamma, background=jnp.zeros(3))
      return jnp.sum(rgb * rgb) + jnp.sum(alpha * alpha)

    value, gradients = compiled(jax.value_and_grad(loss, (0, 1, 2)))(
      fragments.depth, fragments.signed_distance_sq, colors
    )
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)


def test_gradient_reaches_a_face_beside_the_pixel():
  """The point of softness: a pixel outside a face, within its blur, pulls the face towards it."""
  faces = jnp.asarray([[0, 1, 2]], jnp.int32)

  def coverage(vertices):
    fragments = rasterize(vertices, faces, height=1, width=1, faces_per_pixel=1, blur_radius=2.0)
    return soft_blend(fragments, jnp.ones((1, 1, 1, 3)), sigma=1.0, gamma=0.1, background=jnp.zeros(3))[1][
      0, 0
    ]

  # one pixel to the right of the pixel at (0, 0)
  vertices = jnp.asarray([(1, -3, 1), (1, 3, 1), (4, 0, 1)], jnp.float32)
  value, gradient = compiled(jax.value_and_grad(coverage))(vertices)
  np.testing.assert_allclose(value, 1 / (1 + np.e), rtol=0, atol=rounding(8))
  slope = -2 * np.e / (1 + np.e) ** 2  # d sigmoid(-d^2) / dd at d = 1, shared equally by the edge's two ends
  np.testing.assert_allclose(
    gradient, [(slope / 2, 0, 0), (slope / 2, 0, 0), (0, 0, 0)], rtol=0, atol=rounding(20, 4)
  )
