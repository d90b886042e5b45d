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
    line = np.stack([np.ones_like(x), x], axis=1)
    fit = np.linalg.lstsq(line[::2], y[::2], rcond=None)[0]
    result["error"] = float(np.mean(np.abs(line[1::2] @ fit - y[1::2])))
  return result
