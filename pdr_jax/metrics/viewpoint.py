"""How right predicted viewpoints are, after a fit that gives them a zero, a unit and a direction.

A method that learns without labels has a viewpoint of its own. Fits take few labelled pictures, and are
tested on others. Angles are in radians, errors in degrees. A full circle has no line: there the fit is
a direction (1 or -1) and an offset.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

WIDEST_GAP = np.pi / 2  # angles without a wider gap go all the way round
CLOSE = 30.0  # degrees
MEDIAN = "median_error"


def goes_round(angles: Float[np.ndarray, " N"]) -> bool:
  """Whether angles fill the circle: none of their gaps is wider than a quarter of it."""
  ordered = np.sort(np.mod(angles, 2 * np.pi))
  return bool(np.diff(np.append(ordered, ordered[0] + 2 * np.pi)).max() < WIDEST_GAP)


def wrapped(angles: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N"]:
  """The same angles from -pi to below pi."""
  return np.mod(angles + np.pi, 2 * np.pi) - np.pi


def fit_line(
  predicted: Float[np.ndarray, " N"], true: Float[np.ndarray, " N"], tested: Float[np.ndarray, " M"]
) -> Float[np.ndarray, " M"]:
  """What the least-squares line of truth on prediction says of others."""
  line = np.stack([np.ones_like(predicted), predicted], axis=1)
  offset, slope = np.linalg.lstsq(line, true, rcond=None)[0]
  return offset + slope * tested


def fit_turn(
  predicted: Float[np.ndarray, " N"], true: Float[np.ndarray, " N"], tested: Float[np.ndarray, " M"]
) -> Float[np.ndarray, " M"]:
  """The same on a circle: the direction and the offset whose mean cosine of the error is largest."""
  means = {sign: np.mean(np.exp(1j * (true - sign * predicted))) for sign in (1, -1)}
  sign = max(means, key=lambda sign: abs(means[sign]))
  return wrapped(np.angle(means[sign]) + sign * tested)


def as_numbers(
  angles: Float[np.ndarray, "N A"], circle: Bool[np.ndarray, " A"]
) -> Float[np.ndarray, "N D"]:
  """Angles as what a linear map can read or give: cosine and sine of those that go round."""
  plain = [column for column, around in zip(angles.T, circle, strict=True) if not around]
  turning = [column for column, around in zip(angles.T, circle, strict=True) if around]
  return np.stack([*plain, *(f(column) for column in turning for f in (np.cos, np.sin))], axis=1)


def as_angles(
  numbers: Float[np.ndarray, "N D"], circle: Bool[np.ndarray, " A"]
) -> Float[np.ndarray, "N A"]:
  """The inverse of `as_numbers`; pairs of cosine and sine may have any length."""
  straight = np.sum(~circle)
  cosines, sines = numbers[:, straight::2], numbers[:, straight + 1 :: 2]
  angles = np.zeros((len(numbers), len(circle)))
  angles[:, ~circle] = numbers[:, :straight]
  angles[:, circle] = np.arctan2(sines, cosines)
  return angles


def fit_affine(
  predicted: Float[np.ndarray, "N A"],
  true: Float[np.ndarray, "N T"],
  tested: Float[np.ndarray, "M A"],
  circle: Bool[np.ndarray, " T"],
  circle_predicted: Bool[np.ndarray, " A"],
) -> Float[np.ndarray, "M T"]:
  """What one affine map of all predicted angles to all true ones says, by least squares."""
  inputs, queries = (
    np.concatenate([np.ones((len(x), 1)), as_numbers(x, circle_predicted)], axis=1)
    for x in (predicted, tested)
  )
  return as_angles(queries @ np.linalg.lstsq(inputs, as_numbers(true, circle), rcond=None)[0], circle)


def errors(
  predicted: Float[np.ndarray, " N"], true: Float[np.ndarray, " N"], circle: bool
) -> dict[str, Float[np.ndarray, " N"]]:
  """Of one angle of N pictures: what each score is the mean of, and `median_error` the median.

  They are the absolute error, the shorter way round where the angle goes round. There also whether it is
  within 30 degrees, the error of the axis alone (front and back count as the same), and whether front and
  back are confused (off by more than 90 degrees).
  """
  if not circle:
    return {"mean_absolute_error": np.rad2deg(np.abs(predicted - true))}
  off = np.rad2deg(np.abs(wrapped(predicted - true)))
  return {
    "mean_absolute_error": off,
    MEDIAN: off,
    "within_30": (off <= CLOSE).astype(np.float64),
    "axis_error": np.minimum(off, 180 - off),
    "reversed": (off > 90).astype(np.float64),
  }


def geodesic(
  predicted: Float[np.ndarray, "N 3"], true: Float[np.ndarray, "N 3"], turntable: bool = False
) -> Float[np.ndarray, " N"]:
  """Degrees of the rotation between two viewpoints (azimuth, elevation, tilt), as `Rz(t) Ry(a) Rx(e)`.

  On a turntable the object turns about its own upright axis first: `Rz(t) Rx(e) Ry(a)`.
  """
  order, columns = ("yxz", [0, 1, 2]) if turntable else ("xyz", [1, 0, 2])
  turns = [Rotation.from_euler(order, angles[:, columns]) for angles in (predicted, true)]
  return np.rad2deg((turns[0].inv() * turns[1]).magnitude())
