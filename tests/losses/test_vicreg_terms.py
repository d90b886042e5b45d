"""VICReg's terms against plain NumPy loops in float64, and the same on four devices as on one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.programs import compiled
from support.tolerances import mean_tolerance, rounding

from pdr_jax.losses import vicreg

N, D = 8, 5
MASKS = (np.ones(N), np.array([1, 0, 1, 1, 0, 1, 1, 0.0]))


def codes(seed=0):
  """Some dimensions spread less than the target and some more; they go together."""
  rng = np.random.default_rng(seed)
  mixed = rng.normal(size=(N, D)) @ rng.normal(size=(D, D)) * np.array([0.1, 0.3, 1.0, 2.0, 0.0])
  return (mixed + rng.normal(size=D)).astype(np.float32)


def naive_variance(z, target=1.0):
  """Equations 1 and 2, number by number."""
  values = []
  for j in range(z.shape[1]):
    mean = sum(z[:, j]) / len(z)
    spread = sum((value - mean) ** 2 for value in z[:, j]) / (len(z) - 1)
    values.append(max(0.0, target - (spread + 1e-4) ** 0.5))
  return np.array(values)


def naive_covariance(z):
  """Equation 3, a sum of outer products, and the squares of equation 4 row by row."""
  mean = z.mean(axis=0)
  matrix = sum(np.outer(row - mean, row - mean) for row in z) / (len(z) - 1)
  return np.array([sum(matrix[i, j] ** 2 for j in range(z.shape[1]) if j != i) for i in range(z.shape[1])])


def terms(z, mask, axis_name=None):
  words = dict(mask=mask, axis_name=axis_name)
  return {"variance": vicreg.variance(z, **words), "covariance": vicreg.covariance(z, **words)}


run = compiled(terms)
# Roundings of codes of up to `size`, squared in covariances, squared again; a few sums of N or D of them.
SIZE = float(np.abs(codes()).max())
OFF = {"variance": 100 * rounding(8, SIZE), "covariance": D * rounding(32, SIZE**4)}


@pytest.mark.parametrize("mask", MASKS, ids=("all", "some"))
def test_values_are_the_naive_ones_of_the_rows_that_count(mask):
  z = codes()
  kept = z[mask > 0].astype(np.float64)
  values = run(z, mask.astype(np.float32))
  expected = {"variance": naive_variance(kept), "covariance": naive_covariance(kept)}
  assert (expected["variance"] > 0).any() and (expected["variance"] == 0).any()
  for name in expected:
    np.testing.assert_allclose(values[name], expected[name], rtol=0, atol=OFF[name], err_msg=name)
  # a dimension that is constant: nothing but the epsilon under the root, ten times the rounding of its mean
  assert expected["variance"][4] == pytest.approx(0.99)


def test_invariance_is_the_mean_square():
  first, second = codes(), codes(1)
  expected = np.square(first.astype(np.float64) - second).mean(axis=1)
  size = float(np.square(first - second).max())
  off = mean_tolerance(3 * D, size)
  np.testing.assert_allclose(vicreg.invariance(first, second), expected, rtol=0, atol=off)


def test_one_row_has_no_spread():
  values = run(codes(), np.eye(1, N, 3, dtype=np.float32)[0])
  np.testing.assert_allclose(values["variance"], 0.99, rtol=0, atol=rounding(4))  # a root and a difference
  np.testing.assert_array_equal(values["covariance"], 0)


def test_four_devices_are_one():
  """Values, and the gradient of a weight that all rows share, with padding spread unevenly."""
  weight = np.random.default_rng(9).normal(size=(D, D)).astype(np.float32)

  def loss(weight, z, mask, axis_name=None):
    values = terms(z @ weight, mask, axis_name)
    return values["variance"].mean() + values["covariance"].mean(), values

  z, mask = codes(), MASKS[1].astype(np.float32)
  (_, expected), gradient = compiled(jax.value_and_grad(loss, has_aux=True))(weight, z, mask)

  @functools.partial(jax.pmap, axis_name="devices", in_axes=(None, 0, 0))
  def step(weight, z, mask):
    (_, values), gradient = jax.value_and_grad(loss, has_aux=True)(weight, z, mask, "devices")
    return values, jax.lax.pmean(gradient, "devices")

  values, gradients = step(weight, z.reshape(4, 2, D), mask.reshape(4, 2))
  size = float(np.abs(z @ weight).max())
  for device in range(4):
    offs = {"variance": 100 * rounding(8, size), "covariance": D * rounding(32, size**4)}
    for name, off in offs.items():
      np.testing.assert_allclose(values[name][device], expected[name], rtol=0, atol=off)
    # the same sums, each once more
    off = rounding(64, float(np.abs(gradient).max())) + rounding(64, size**3)
    np.testing.assert_allclose(gradients[device], gradient, rtol=0, atol=off)


def test_gradients_are_finite_where_codes_have_collapsed():
  def loss(z):
    return vicreg.variance(z).sum() + vicreg.covariance(z).sum()

  gradient = compiled(jax.grad(loss))(jnp.ones((4, 3)))
  np.testing.assert_array_equal(gradient, 0)  # the mean is a fixed point
