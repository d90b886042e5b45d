"""Scores of predicted frames: PSNR, SSIM and sharpness. Pictures are in [0, 1]."""

import numpy as np
from jaxtyping import Float, Shaped
from scipy import ndimage

SIGMA = 1.5  # pixels, of SSIM's window
RADIUS = 5  # where it is cut off: 11 x 11 pixels
C1, C2 = 0.01**2, 0.03**2  # SSIM's constants, for a range of 1
WORST = 1e-10  # of the mean squared error: a perfect frame has 100 dB


def psnr(
  predicted: Shaped[np.ndarray, "*N S S C"], truth: Shaped[np.ndarray, "*N S S C"]
) -> Float[np.ndarray, "*N"]:
  """Peak signal-to-noise ratio of each picture, in dB."""
  error = np.square(predicted.astype(np.float64) - truth).mean(axis=(-3, -2, -1))
  return -10 * np.log10(np.maximum(error, WORST))


def ssim(
  predicted: Shaped[np.ndarray, "*N S S C"], truth: Shaped[np.ndarray, "*N S S C"]
) -> Float[np.ndarray, "*N"]:
  """Structural similarity of each picture (Wang et al. 2004), the mean over pixels and channels.

  Windows are Gaussian; those that reach beyond the picture are left out.
  """
  x, y = predicted.astype(np.float64), truth.astype(np.float64)

  def smooth(values: np.ndarray) -> np.ndarray:
    for axis in (-3, -2):
      values = ndimage.gaussian_filter1d(values, SIGMA, axis=axis, radius=RADIUS)
    return values

  mean_x, mean_y = smooth(x), smooth(y)
  var_x, var_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
  both = smooth(x * y) - mean_x * mean_y
  above = (2 * mean_x * mean_y + C1) * (2 * both + C2)
  below = (mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2)
  inside = slice(RADIUS, -RADIUS) if x.shape[-2] > 2 * RADIUS else slice(None)
  return (above / below)[..., inside, inside, :].mean(axis=(-3, -2, -1))


def sharpness(pictures: Shaped[np.ndarray, "*N S S C"]) -> Float[np.ndarray, "*N"]:
  """The mean absolute difference of neighbouring pixels: it falls where pictures blur."""
  values = pictures.astype(np.float64)
  across = np.abs(np.diff(values, axis=-2)).mean(axis=(-3, -2, -1))
  return (across + np.abs(np.diff(values, axis=-3)).mean(axis=(-3, -2, -1))) / 2
