"""Clips of embedded worlds: one scene whose azimuth turns from frame to frame.

Its light and all else stay.
"""

from collections.abc import Callable

import numpy as np

from pdr_jax.data.scenes import sample

PER_FRAME = ("label/view_outside",)  # labels that have a value for each frame
LEAST_SWEEP = 0.5  # of the training range: how far the azimuth turns at least


def azimuths(rng: np.random.Generator, frames: int, limit: float, outside: float) -> np.ndarray:
  """Radians [T]: even steps within the limit (degrees) to both sides, over at least half of that range.

  With `outside` above 0, the first frame is so many degrees beyond the limit, and the others turn towards the
  middle.
  """
  sweep = rng.uniform(LEAST_SWEEP, 1.0) * 2 * limit
  start, side = rng.uniform(-limit, limit - sweep), rng.choice([-1.0, 1.0])
  steps = sweep * np.linspace(0.0, 1.0, frames)
  return np.deg2rad(side * (limit + outside - steps if outside > 0 else start + steps))


def drawing(
  draw: Callable[[str, int], tuple[dict, dict]],
  turned: Callable[[np.ndarray, float], np.ndarray],
  *,
  seed: int,
  frames: int,
  limit: float,
) -> Callable[[str, int], tuple[dict, dict]]:
  """`draw(split, index)` of single images for clips.

  Image `index` is frame `index % frames` of clip `index // frames`.

  Args:
    draw: gives (scene, labels) of an image. A clip shows the scene of the image with its number.
    turned: `turned(view [6], azimuth)` gives the view from another azimuth, in radians.
    seed: of the world.
    frames: of a clip.
    limit: degrees, the training range of azimuths to both sides.
  """

  def draw_frame(split: str, index: int) -> tuple[dict, dict]:
    clip, frame = divmod(index, frames)
    scene, labels = draw(split, clip)
    # One more stream than those of the splits and of who is seen.
    rng = np.random.default_rng([seed, len(sample.SPLITS) + 1, sample.SPLITS.index(split), clip])
    azimuth = azimuths(rng, frames, limit, float(labels.get("view_outside", 0.0)))[frame]
    if "view_outside" in labels:
      outside = max(0.0, np.degrees(abs(azimuth)) - limit) if labels["view_outside"] > 0 else 0.0
      labels = labels | {"view_outside": np.float32(outside)}
    return scene | {"view": turned(scene["view"], azimuth)}, labels

  return draw_frame
