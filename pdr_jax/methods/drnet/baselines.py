"""What needs no network: one frame of a clip in the place of those that are decoded."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from pdr_jax.methods.shared import still_frames


def baselines(batches: Iterable[dict[str, Any]], sums: Callable) -> dict[str, dict[str, float]]:
  """`val/reconstruction` of the frame that gives the content, and of the mean frame.

  A network that does worse than the first does not keep what stays. The mean frame, which knows what is to
  come, is the best picture in which nothing moves.
  """

  def split(clips: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    guesses = {"first frame": clips[:, :1], "mean frame": clips.mean(axis=1, keepdims=True)}
    return clips[:, scored(clips.shape[1])], guesses

  return still_frames.errors(batches, sums, "val/reconstruction", split)


def scored(frames: int) -> list[int]:
  """The frames that are decoded in a validation: the middle and the last one."""
  return sorted({(frames - 1) // 2, frames - 1})
