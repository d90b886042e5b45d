"""PSNR, SSIM and sharpness against naive ones."""

import numpy as np

from pdr_jax.metrics import video


def naive_ssim(x, y):
  """Every window by hand, of one grey picture."""
  place = np.arange(-5, 6)
  line = np.exp(-(place**2) / (2 * 1.5**2))
  window = np.outer(line, line) / np.outer(line, line).sum()
  values = []
  for row in range(5, x.shape[0] - 5):
    for column in range(5, x.shape[1] - 5):
      a = x[row - 5 : row + 6, column - 5 : column + 6]
      b = y[row - 5 : row + 6, column - 5 : column + 6]
      mean_a, mean_b = (window * a).sum(), (window * b).sum()
      var_a, var_b = (window * a * a).sum() - mean_a**2, (window * b * b).sum() - mean_b**2
      both = (window * a * b).sum() - mean_a * mean_b
      above = (2 * mean_a * mean_b + 0.01**2) * (2 * both + 0.03**2)
      values.append(above / ((mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2)))
  return np.mean(values)


def test_ssim_is_that_of_naive_windows():
  rng = np.random.default_rng(0)
  x = rng.uniform(0, 1, (2, 15, 15, 2))
  y = np.clip(x + rng.normal(size=x.shape) * 0.2, 0, 1)
  wanted = [np.mean([naive_ssim(x[i, ..., c], y[i, ..., c]) for c in range(2)]) for i in range(2)]
  np.testing.assert_allclose(video.ssim(x, y), wanted, rtol=1e-10)  # float64
  np.testing.assert_allclose(video.ssim(x, x), 1.0, rtol=1e-12)


def test_psnr_and_sharpness():
  x = np.zeros((3, 4, 4, 1))
  np.testing.assert_allclose(video.psnr(x + 0.1, x), 20.0, rtol=1e-12)
  np.testing.assert_allclose(video.psnr(x, x), 100.0)
  stripes = np.tile(np.array([0.0, 1.0, 0.0, 1.0]), (4, 1))[None, ..., None]
  np.testing.assert_allclose(video.sharpness(stripes), 0.5)
  np.testing.assert_allclose(video.sharpness(stripes * 0.5 + 0.2), 0.25)
