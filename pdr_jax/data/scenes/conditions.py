"""Light and viewpoint within the training range, or a known number of degrees outside of it.

Worlds with splits of both kinds use it.
"""

import numpy as np

# Degrees: how far `test_light` and `test_view` go beyond the training range.
LIGHT_BEYOND, VIEW_BEYOND = 45.0, 30.0


def beyond(rng, split: str) -> dict[str, np.float32]:
  """{light_outside, view_outside}: degrees beyond the training range.

  They are uniform in the split made for it, and 0 in every other.
  """
  light, view = rng.uniform(0, LIGHT_BEYOND), rng.uniform(0, VIEW_BEYOND)
  return {
    "light_outside": np.float32(light * (split == "test_light")),
    "view_outside": np.float32(view * (split == "test_view")),
  }


def draw_light(
  rng, axis: np.ndarray, limit: float, outside: float
) -> dict[str, np.ndarray | np.float32]:
  """Ambient, and two directional sources, the second weak and often dark: ambient (), diffuse [2], direction
  [2, 3] unit, canonical frame.

  Args:
    axis: [3] unit, the direction in the middle of the training range.
    limit: degrees; within the range both directions are at most so far from the axis, spread evenly over that
      cone's area.
    outside: degrees; above 0, the first source's angle to the axis is `limit + outside`.
  """
  ambient = rng.uniform(0.25, 0.55)
  key = rng.uniform(0.6, 1.0) * (1.2 - ambient)
  fill = rng.uniform(0.0, 0.3) * key * (rng.random() < 0.5)
  angles = limit * np.sqrt(rng.random(2))
  if outside > 0:
    angles[0] = limit + outside
  angles, turn = np.deg2rad(angles), rng.uniform(0, 2 * np.pi, 2)
  first = np.cross(axis, [0.0, 1.0, 0.0] if abs(axis[1]) < 0.9 else [1.0, 0.0, 0.0])
  first /= np.linalg.norm(first)
  second = np.cross(axis, first)
  around = np.cos(turn)[:, None] * first + np.sin(turn)[:, None] * second
  direction = np.cos(angles)[:, None] * axis + np.sin(angles)[:, None] * around
  return {
    "ambient": np.float32(ambient),
    "diffuse": np.array([key, fill], np.float32),
    "direction": direction.astype(np.float32),
  }


def draw_yaw(rng, limit: float, outside: float) -> float:
  """Radians: even within the limit (degrees) to both sides, or `outside` degrees beyond it."""
  inside, side = rng.uniform(-limit, limit), rng.choice([-1.0, 1.0])
  return float(np.deg2rad(side * (limit + outside) if outside > 0 else inside))
