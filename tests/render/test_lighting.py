"""Spherical harmonics against SciPy, quadrature and Monte Carlo.

Rotation, directional light and shading are compared with closed forms.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.spatial.transform import Rotation
from support import render_oracles as oracle
from support.tolerances import difference_tolerance, rounding, sum_tolerance

from pdr_jax.render import lighting


def unit_vectors(rng, *shape):
  vectors = rng.normal(size=(*shape, 3))
  return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_basis_against_scipy():
  directions = unit_vectors(np.random.default_rng(0), 500)
  directions = np.concatenate([directions, np.eye(3), -np.eye(3)])
  np.testing.assert_allclose(
    lighting.sh_basis(directions.astype(np.float32)),
    oracle.real_harmonics(directions),
    rtol=0,
    atol=rounding(8),
  )  # numbers about one


def test_basis_is_orthonormal_by_quadrature():
  """Gauss-Legendre in z, equal steps in longitude: exact for polynomials of this degree."""
  z, weights = np.polynomial.legendre.leggauss(6)
  phi = np.arange(12) * 2 * np.pi / 12
  z, phi = (a.ravel() for a in np.meshgrid(z, phi, indexing="ij"))
  directions = np.stack([np.sqrt(1 - z * z) * np.cos(phi), np.sqrt(1 - z * z) * np.sin(phi), z], -1)
  basis = np.asarray(lighting.sh_basis(directions.astype(np.float32)), np.float64)
  gram = np.einsum("ni,nj,n->ij", basis, basis, np.repeat(weights, 12) * 2 * np.pi / 12)
  np.testing.assert_allclose(gram, np.eye(9), rtol=0, atol=rounding(24))  # two harmonics, 8 roundings each


def test_irradiance_by_monte_carlo():
  """The cosine lobe integrated against random light, by a million random directions."""
  rng = np.random.default_rng(1)
  coefficients, normals = rng.normal(size=9), unit_vectors(rng, 1, 8)
  directions = unit_vectors(rng, 1_000_000)
  radiance = oracle.real_harmonics(directions) @ coefficients
  samples = 4 * np.pi * radiance[:, None] * np.maximum(directions @ normals[0].T, 0)
  mean, error = samples.mean(axis=0), samples.std(axis=0) / 1000
  actual = np.asarray(lighting.sh_irradiance(coefficients.astype(np.float32), normals.astype(np.float32)))[0]
  assert (np.abs(actual - mean) < 5 * error).all() and error.max() < 0.01


def test_constant_light_gives_constant_irradiance():
  """Radiance 1 from everywhere: irradiance pi, shading 1."""
  coefficients = np.zeros(9, np.float32)
  coefficients[0] = 2 * np.sqrt(np.pi)
  normals = unit_vectors(np.random.default_rng(2), 4, 5).astype(np.float32)
  np.testing.assert_allclose(
    lighting.sh_irradiance(coefficients, normals), np.full((4, 5), np.pi), rtol=rounding(8)
  )
  np.testing.assert_allclose(lighting.sh_shading(coefficients, normals), np.ones((4, 5)), rtol=rounding(8))


def test_coloured_light_is_three_lights():
  rng = np.random.default_rng(3)
  coefficients = rng.normal(size=(2, 9, 3)).astype(np.float32)
  normals = unit_vectors(rng, 2, 4, 5).astype(np.float32)
  gains = np.repeat([np.pi, 2 * np.pi / 3, np.pi / 4], [1, 3, 5])
  expected = np.einsum(
    "bhwk,bkc,k->bhwc", oracle.real_harmonics(normals.reshape(-1, 3)).reshape(2, 4, 5, 9), coefficients, gains
  )
  off = dict(rtol=0, atol=sum_tolerance(9, 4))  # nine terms: a coefficient, a gain of up to pi, a harmonic
  np.testing.assert_allclose(lighting.sh_irradiance(coefficients, normals), expected, **off)
  for colour in range(3):
    one = lighting.sh_irradiance(coefficients[..., colour], normals)
    np.testing.assert_allclose(one, expected[..., colour], **off)
  np.testing.assert_allclose(
    lighting.sh_shading(coefficients, normals), np.maximum(expected / np.pi, 0), **off
  )


def test_directional_shading_against_loop():
  rng = np.random.default_rng(4)
  ambient, diffuse, direction = rng.uniform(size=2), rng.uniform(size=2), rng.normal(size=(2, 3)) * 3
  normals = unit_vectors(rng, 2, 3, 4)
  unit = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
  expected = [
    [[ambient[b] + diffuse[b] * max(0.0, normals[b, i, j] @ unit[b]) for j in range(4)] for i in range(3)]
    for b in range(2)
  ]
  actual = lighting.directional_shading(
    *(x.astype(np.float32) for x in (ambient, diffuse, direction, normals))
  )
  np.testing.assert_allclose(actual, expected, rtol=0, atol=rounding(8, 2))


def test_directional_light_as_harmonics_is_its_truncation():
  """Against the Legendre series of the clamped cosine, 1/4 + c/2 + 5/16 P2(c), and against the light
  itself within the series' error.
  """
  rng = np.random.default_rng(5)
  ambient, diffuse, direction = np.float32(0.3), np.float32(0.8), unit_vectors(rng).astype(np.float32)
  normals = np.concatenate(
    [unit_vectors(rng, 1, 200), direction[None, None], -direction[None, None]], axis=1
  ).astype(np.float32)
  cosine = normals @ direction
  expected = 0.3 + 0.8 * (0.25 + cosine / 2 + 5 / 16 * (3 * cosine**2 - 1) / 2)
  coefficients = lighting.directional_to_sh(ambient, diffuse, 3 * direction)
  off = sum_tolerance(9, 0.5)  # nine terms of the irradiance
  np.testing.assert_allclose(
    lighting.sh_irradiance(coefficients, normals) / np.pi, expected, rtol=0, atol=off
  )
  shading = lighting.sh_shading(coefficients, normals)
  difference = np.abs(shading - lighting.directional_shading(ambient, diffuse, direction, normals))
  assert difference.max() <= 0.8 * 3 / 32 + off and difference.max() > 0.8 * 0.06


@pytest.mark.parametrize("coloured", [False, True])
def test_rotation_turns_the_function(coloured):
  """f'(n) = f(R^T n), evaluated with SciPy's harmonics."""
  rng = np.random.default_rng(6)
  coefficients = rng.normal(size=(4, 9, 3) if coloured else (4, 9))
  rotations = Rotation.random(4, random_state=7).as_matrix()
  turned = np.asarray(
    lighting.rotate_sh(coefficients.astype(np.float32), rotations.astype(np.float32)), np.float64
  )
  assert turned.shape == coefficients.shape
  directions = unit_vectors(rng, 60)
  for before, after, rotation in zip(coefficients, turned, rotations, strict=True):
    expected = oracle.real_harmonics(directions @ rotation) @ before  # rows n^T R are (R^T n)^T
    # nine coefficients of up to three, each turned by sums of up to nine products
    off = rounding(40, 3)
    np.testing.assert_allclose(oracle.real_harmonics(directions) @ after, expected, rtol=0, atol=off)


def test_rotation_keeps_each_bands_energy_and_moves_a_light_with_it():
  rng = np.random.default_rng(8)
  coefficients = rng.normal(size=(5, 9)).astype(np.float32)
  rotations = Rotation.random(5, random_state=9).as_matrix().astype(np.float32)
  turned = np.asarray(lighting.rotate_sh(coefficients, rotations))
  np.testing.assert_array_equal(turned[:, 0], coefficients[:, 0])  # a copy
  for band in (slice(1, 4), slice(4, 9)):
    np.testing.assert_allclose(
      (turned[:, band] ** 2).sum(-1), (coefficients[:, band] ** 2).sum(-1), rtol=rounding(80)
    )  # squares: twice the rounding of a turned coefficient
  assert np.abs(turned - coefficients)[:, 1:].max() > 0.1
  ambient = np.full(5, 0.2, np.float32)
  diffuse = np.full(5, 0.7, np.float32)
  direction = unit_vectors(rng, 5).astype(np.float32)
  moved = lighting.rotate_sh(lighting.directional_to_sh(ambient, diffuse, direction), rotations)
  expected = lighting.directional_to_sh(ambient, diffuse, np.einsum("bij,bj->bi", rotations, direction))
  np.testing.assert_allclose(moved, expected, rtol=0, atol=rounding(40, 2))


def test_rotations_compose_and_identity_does_nothing():
  rng = np.random.default_rng(10)
  coefficients = rng.normal(size=9).astype(np.float32)
  first, second = Rotation.random(2, random_state=11).as_matrix().astype(np.float32)
  off = dict(rtol=0, atol=rounding(40, 3))  # sums of up to nine products with coefficients of up to three
  twice = lighting.rotate_sh(lighting.rotate_sh(coefficients, first), second)
  np.testing.assert_allclose(twice, lighting.rotate_sh(coefficients, second @ first), **off)
  np.testing.assert_allclose(
    lighting.rotate_sh(coefficients, np.eye(3, dtype=np.float32)), coefficients, **off
  )


@pytest.mark.parametrize("shading_shape", [(2, 3, 4), (2, 3, 4, 3)])
def test_shade(shading_shape):
  rng = np.random.default_rng(12)
  albedo, shading = rng.uniform(-1, 1, (2, 3, 4, 3)), rng.uniform(0, 2, shading_shape)
  expected = (albedo / 2 + 0.5) * (shading[..., None] if shading.ndim == 3 else shading) * 2 - 1
  np.testing.assert_allclose(
    lighting.shade(albedo.astype(np.float32), shading.astype(np.float32)),
    expected,
    rtol=0,
    atol=rounding(4, 4),
  )


def test_gradients():
  rng = np.random.default_rng(13)
  normals = unit_vectors(rng, 2, 3, 3).astype(np.float32)
  light = rng.normal(size=(2, 9)).astype(np.float32)
  light[:, 0] = 20.0  # away from the clamp at zero
  rotation = Rotation.random(2, random_state=14).as_matrix().astype(np.float32)
  step = 1e-2  # polynomials of a degree of up to four; weighted sums of values of up to 60
  off = difference_tolerance(step, 60, 1000)
  options = dict(order=1, modes=["rev"], eps=step, atol=off, rtol=off)
  check_grads(lighting.sh_shading, (light, normals), **options)
  check_grads(lambda c, r: lighting.rotate_sh(c, r)[:, 1:], (light, rotation), **options)
  check_grads(
    lighting.directional_to_sh,
    (np.float32([0.2]), np.float32([0.5]), np.float32([[0.3, -0.4, 1.0]])),
    **options,
  )
  arguments = (
    np.float32([0.2]),
    np.float32([0.5]),
    np.float32([[0.3, -0.4, 1.0]]),
    np.float32([[[[0.1, 0.2, 0.9]]]]),
  )
  check_grads(lighting.directional_shading, arguments, **options)


def test_no_light_direction_has_finite_gradients():
  normals = jnp.ones((1, 2, 2, 3))
  one = jnp.ones(1)
  for function in (lighting.directional_to_sh, lambda *a: lighting.directional_shading(*a, normals)):
    assert np.isfinite(jax.grad(lambda d, f=function: f(one, one, d).sum())(jnp.zeros((1, 3)))).all()
