"""Cross-entropy against float64 NumPy."""

import jax
import numpy as np
from support.programs import compiled
from support.tolerances import rounding

from pdr_jax.losses.classification import cross_entropy

LOGITS = np.array([[0.5, -2.0, 3.0], [100.0, 0.0, -100.0], [0.0, 0.0, 0.0], [1e4, -1e4, 0.0]], np.float32)
TRUTH = np.array([2, 2, 1, 0], np.int32)


def test_values_and_gradients():
  logits = LOGITS.astype(np.float64)
  shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
  shares = shifted / shifted.sum(axis=1, keepdims=True)
  top = logits.max(axis=1)
  expected = top + np.log(shifted.sum(axis=1)) - logits[np.arange(4), TRUTH]
  size = np.abs(LOGITS).max(axis=1)
  values, gradients = compiled(jax.vmap(jax.value_and_grad(
      lambda logits, truth: cross_entropy(logits[None], truth[None])[0]
  )))(LOGITS, TRUTH)
  for value, wanted, off in zip(values, expected, rounding(8, 1) * (1 + size), strict=True):
    np.testing.assert_allclose(value, wanted, rtol=0, atol=off)
  # exponentials of differences up to 3; where they are larger, shares are 0 and 1
  np.testing.assert_allclose(gradients, shares - np.eye(3)[TRUTH], rtol=0, atol=rounding(16))


def test_a_class_that_there_is_not_is_finite():
  values = compiled(cross_entropy)(LOGITS[:2], np.array([-1, 7], np.int32))
  nearest = compiled(cross_entropy)(LOGITS[:2], np.array([0, 2], np.int32))
  np.testing.assert_array_equal(values, nearest)
