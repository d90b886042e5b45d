"""Structural similarity of pictures (Wang et al. 2004)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

WINDOW, DEVIATION = 11, 1.5  # pixels, of the Gaussian window
STABLE = (0.01, 0.03)  # K1 and K2 of the paper


def ssim(first: Float[ArrayLike, "B H W C"], second: Float[ArrayLike, "B H W C"]) -> Float[Array, " B"]:
  """The mean over all windows that lie inside, and channels; pictures in [0, 1], 1 where they are equal.

  Sides are 11 at least.
  """
  place = np.arange(WINDOW) - WINDOW // 2
  window = np.exp(-(place**2) / (2 * DEVIATION**2))
  window = (window / window.sum()).astype(np.float32)

  def smooth(x: Array) -> Array:
    for axis in (1, 2):
      count = x.shape[axis] - WINDOW + 1
      parts = (jnp.take(x, np.arange(k, k + count), axis) * window[k] for k in range(WINDOW))
      x = sum(parts)
    return x

  c1, c2 = (k**2 for k in STABLE)
  mean_a, mean_b = smooth(first), smooth(second)
  variance_a = smooth(first * first) - mean_a**2
  variance_b = smooth(second * second) - mean_b**2
  together = smooth(first * second) - mean_a * mean_b
  above = (2 * mean_a * mean_b + c1) * (2 * together + c2)
  below = (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
  return (above / below).mean(axis=(1, 2, 3))
