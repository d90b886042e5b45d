"""How right predicted angles are: the slope through the origin, and the error after a fitted line."""

import numpy as np
from jaxtyping import Float


def scores(predicted: Float[np.ndarray, " N"], true: Float[np.ndarray, " N"]) -> dict[str, float]:
  """Of one angle of N pictures, in degrees.

  `slope`: of truth on prediction, through the origin; 1 is right, above 1 turns are underestimated; left out
  for predictions that are all zero. `correlation`: Pearson's, 0 where either is constant. `error`: the mean
  absolute error after a line `a + b x`, fitted by least squares to every second picture and tested on the
  others: the network may have a zero and a unit of its own. It needs four pictures.
  """
  x, y = (np.asarray(values, np.float64) for values in (predicted, true))
  result = {}
  if np.sum(x * x) > 0:
    result["slope"] = float(np.sum(x * y) / np.sum(x * x))
  spread = x.std() * y.std()
  covariance = np.mean((x - x.mean()) * (y - y.mean()))
  result["correlation"] = float(covariance / spread) if spread > 1e-9 else 0.0
  if len(x) >= 4:
    result["error"] = float(np.mean(after_line(x, y)))
  return result


def after_line(
  predicted: Float[np.ndarray, " N"], true: Float[np.ndarray, " N"]
) -> Float[np.ndarray, " M"]:
  """The absolute errors that `error` is the mean of: those of pictures 1, 3, 5, ..."""
  x, y = (np.asarray(values, np.float64) for values in (predicted, true))
  line = np.stack([np.ones_like(x), x], axis=1)
  fit = np.linalg.lstsq(line[::2], y[::2], rcond=None)[0]
  return np.abs(line[1::2] @ fit - y[1::2])
