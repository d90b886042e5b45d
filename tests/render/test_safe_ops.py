"""Values against NumPy, and gradients that stay finite over all magnitudes of float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.tolerances import rounding

from pdr_jax.render import safe_ops

MAGNITUDES = np.concatenate([[0.0], 10.0 ** np.arange(-44, 18, 2)]).astype(np.float32)
DIRECTIONS = np.array([[1, 0, 0], [1, -2, 3], [0, 0, -1]], np.float32)


def test_divide():
  x = np.array([1.0, -2.0, 3.0, 0.0], np.float32)
  y = np.array([4.0, 0.0, -0.5, 0.0], np.float32)
  np.testing.assert_allclose(
    safe_ops.safe_divide(x, y, otherwise=7.0), [0.25, 7.0, -6.0, 7.0], rtol=rounding(2)
  )


def test_sqrt():
  np.testing.assert_allclose(
    safe_ops.safe_sqrt(np.array([4.0, 0.0, -1.0, 1e-40, 1e30], np.float32)),
    [2, 0, 0, 0, 1e15],
    rtol=rounding(4),
  )


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_norm_and_normalize_over_magnitudes(direction):
  vectors = MAGNITUDES[:, None] * direction[None]
  length = np.linalg.norm(vectors.astype(np.float64), axis=-1)
  regular = length > 2e-15
  np.testing.assert_allclose(safe_ops.safe_norm(vectors), np.where(regular, length, 0.0), rtol=rounding(8))
  unit = np.where(regular[:, None], direction[None] / np.linalg.norm(direction), 0.0)
  np.testing.assert_allclose(safe_ops.normalize(vectors), unit, rtol=0, atol=rounding(8))


@pytest.mark.parametrize("name", ["safe_divide", "safe_sqrt", "safe_norm", "normalize"])
def test_gradients_are_finite_over_magnitudes(name):
  function = getattr(safe_ops, name)
  for sign in (1.0, -1.0):
    x = sign * MAGNITUDES
    if name == "safe_divide":
      gradients = jax.grad(lambda a, b: function(a, b).sum(), argnums=(0, 1))(
        jnp.ones_like(x), jnp.asarray(x)
      )
      # 1 / y and 1 / y^2 are out of float32's range for the smallest denominators that count as such: only
      # 1e-15 and up are divided by
      assert np.isfinite(gradients[0]).all() and np.isfinite(gradients[1]).all()
    elif name == "safe_sqrt":
      assert np.isfinite(jax.grad(lambda a: function(a).sum())(jnp.asarray(x))).all()
    else:
      vectors = jnp.asarray(x[:, None] * DIRECTIONS[1][None])
      assert np.isfinite(jax.grad(lambda a: (function(a) ** 2).sum())(vectors)).all()


def test_gradients_match_closed_forms():
  np.testing.assert_allclose(jax.grad(safe_ops.safe_sqrt)(4.0), 0.25, rtol=rounding(4))
  np.testing.assert_allclose(jax.grad(safe_ops.safe_sqrt)(0.0), 0.0)
  np.testing.assert_allclose(
    jax.grad(safe_ops.safe_norm)(jnp.array([3.0, 0.0, 4.0])), [0.6, 0.0, 0.8], rtol=0, atol=rounding(4)
  )
  np.testing.assert_allclose(
    jax.grad(safe_ops.safe_divide, argnums=(0, 1))(3.0, 2.0), (0.5, -0.75), rtol=rounding(4)
  )
  np.testing.assert_allclose(
    jax.jacobian(safe_ops.normalize)(jnp.array([2.0, 0.0])), [[0, 0], [0, 0.5]], rtol=0, atol=rounding(4)
  )
