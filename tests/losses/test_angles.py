"""Angles as magnitudes and quadrants: there and back, mirrors, cross-entropies against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support.references import needs_torch, torch

from pdr_jax.losses import angles

ALL_ROUND = np.deg2rad(np.array([-179, -135, -91, -89, -30, -1, 1, 45, 89, 91, 150, 179], np.float32))


def logits_of(angle, sure=30.0):
  """Magnitudes and quadrants that say exactly this angle."""
  squares = jnp.stack([jnp.cos(angle) ** 2, jnp.sin(angle) ** 2], axis=-1)
  return jnp.log(squares), sure * jax.nn.one_hot(angles.quadrant_of(angle), 4)


def test_there_and_back_in_all_quadrants():
  got = angles.decode(*logits_of(ALL_ROUND))
  # the root of a squared sine of one degree: eps over twice the sine
  np.testing.assert_allclose(got, ALL_ROUND, rtol=0, atol=1e-5)
  assert set(np.asarray(angles.quadrant_of(ALL_ROUND))) == {0, 1, 2, 3}


def test_quadrants_count_the_signs_of_cosine_and_sine():
  expected = [0, 1, 2, 3]
  np.testing.assert_array_equal(angles.quadrant_of(np.deg2rad(np.float32([30, -30, 150, -150]))), expected)


def test_decoding_is_safe_and_its_gradient_is_that_of_the_magnitudes():
  extreme = jnp.array([[500.0, -500.0], [-500.0, 500.0], [0.0, 0.0]])
  quadrants = jnp.eye(4)[:3]
  got, grads = jax.value_and_grad(lambda m, q: angles.decode(m, q).sum(), argnums=(0, 1))(extreme, quadrants)
  assert np.isfinite(got) and np.isfinite(grads[0]).all() and not np.asarray(grads[1]).any()
  np.testing.assert_allclose(grads[0][2], [0.25, -0.25], atol=1e-6)  # of pi - arctan(exp((y - x) / 2)) at 0


def test_the_mean_direction_is_the_angle_where_the_quadrant_is_certain():
  np.testing.assert_allclose(angles.mean_direction(*logits_of(ALL_ROUND)), ALL_ROUND, rtol=0, atol=1e-5)


def test_the_mean_direction_is_that_of_four_weighed_directions():
  rng = np.random.default_rng(2)
  magnitudes, quadrants = (rng.normal(size=(50, n)) for n in (2, 4))
  share = np.exp(quadrants) / np.exp(quadrants).sum(axis=1, keepdims=True)
  square = np.exp(magnitudes) / np.exp(magnitudes).sum(axis=1, keepdims=True)
  signs = np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)])
  x, y = np.einsum("bq,bc,qc->cb", share, np.sqrt(square), signs)
  got = angles.mean_direction(magnitudes.astype(np.float32), quadrants.astype(np.float32))
  np.testing.assert_allclose(got, np.arctan2(y, x), rtol=0, atol=1e-5)  # some of these means are short
  unsure = angles.mean_direction(jnp.array([2.0, 0.0]), jnp.array([0.3, 0.0, -9.0, -9.0]))
  assert 0 < unsure < angles.decode(jnp.array([2.0, 0.0]), jnp.array([0.3, 0.0, -9.0, -9.0])) / 4


def test_the_mean_direction_teaches_signs_and_is_safe_where_there_is_none():
  def read(magnitudes, quadrants):
    return angles.mean_direction(magnitudes, quadrants).sum()

  extreme = jnp.array([[500.0, -500.0], [-500.0, 500.0], [0.0, 0.0]])
  for quadrants in (jnp.zeros((3, 4)), 500 * jnp.eye(4)[:3]):
    value, grads = jax.value_and_grad(read, argnums=(0, 1))(extreme, quadrants)
    assert np.isfinite(value) and np.isfinite(grads[0]).all() and np.isfinite(grads[1]).all()
  assert float(read(extreme, jnp.zeros((3, 4)))) == 0.0
  with jax.enable_x64(True):
    inputs = jnp.array([[0.4, -0.2]], jnp.float64), jnp.array([[0.3, 0.1, -0.5, 0.2]], jnp.float64)
    check_grads(read, inputs, order=1, modes=["rev"])


def test_a_mirror_negates_azimuth_and_tilt_alone():
  view = jnp.array([[0.3, -0.2, 0.1]])
  np.testing.assert_array_equal(angles.mirrored(view), jnp.array([[-0.3, -0.2, -0.1]]))
  seen, again = (
    [jnp.stack(part, axis=1) for part in zip(*(logits_of(v) for v in views.T), strict=True)]
    for views in (view, angles.mirrored(view))
  )
  right = angles.mirror_cross_entropy(*seen, tuple(again))
  wrong = angles.mirror_cross_entropy(*seen, tuple(seen))
  entropy = -np.cos(view) ** 2 * np.log(np.cos(view) ** 2) - np.sin(view) ** 2 * np.log(np.sin(view) ** 2)
  np.testing.assert_allclose(right, entropy, atol=1e-5)
  np.testing.assert_allclose(wrong - right, [[30, 0, 30]], atol=1e-4)  # the quadrant's logit


def test_what_is_said_of_the_picture_is_a_target():
  rng = np.random.default_rng(0)
  parts = [jnp.asarray(rng.normal(size=(5, 3, n)), jnp.float32) for n in (2, 4, 2, 4)]
  grads = jax.grad(lambda p: angles.mirror_cross_entropy(p[0], p[1], (p[2], p[3])).sum())(parts)
  assert not np.asarray(grads[0]).any() and not np.asarray(grads[1]).any()
  assert np.asarray(grads[2]).any() and np.asarray(grads[3]).any()


@needs_torch
def test_cross_entropy_is_pytorchs():
  rng = np.random.default_rng(1)
  magnitudes, quadrants = (rng.normal(size=(12, n)).astype(np.float32) for n in (2, 4))
  ours = angles.cross_entropy(magnitudes, quadrants, ALL_ROUND)
  target = torch.tensor(np.stack([np.cos(ALL_ROUND) ** 2, np.sin(ALL_ROUND) ** 2], -1))
  labels = torch.tensor([2 * (np.cos(a) < 0) + (np.sin(a) < 0) for a in ALL_ROUND.tolist()])
  cross = torch.nn.functional.cross_entropy
  theirs = cross(torch.tensor(magnitudes), target, reduction="none")
  theirs = theirs + cross(torch.tensor(quadrants), labels.long(), reduction="none")
  np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)  # some ten roundings of numbers of a few


def test_it_is_lowest_at_the_angle():
  at = jnp.linspace(0.2, 1.3, 23)
  for angle in (0.5, 1.0):
    losses = [angles.cross_entropy(*logits_of(a), jnp.float32(angle)) for a in at]
    assert abs(float(at[int(np.argmin(losses))]) - angle) < 0.03


@pytest.mark.parametrize("degrees", [0.0, 90.0, 180.0, -90.0])
def test_it_is_finite_on_the_axes(degrees):
  value, grads = jax.value_and_grad(
    lambda m, q: angles.cross_entropy(m, q, jnp.float32(np.deg2rad(degrees))), argnums=(0, 1)
  )(jnp.array([1.0, 2.0]), jnp.zeros(4))
  assert np.isfinite(value) and all(np.isfinite(g).all() for g in grads)
