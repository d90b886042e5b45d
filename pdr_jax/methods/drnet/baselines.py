"""What needs no network: the first frame of a clip in the place of later ones."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np


def baselines(batches: Iterable[dict[str, Any]], sums: Callable) -> dict[str, dict[str, float]]:
  """`val/reconstruction` of the frame that gives the content, as it is.

  A network that does worse does not keep what stays. The mean frame, which knows what is to come, is
  the best picture in which nothing moves.
  """
  totals = dict.fromkeys(("first", "mean", "count"), 0.0)
  for batch in batches:
    clips, mask = np.asarray(batch["clip"]), np.asarray(batch["_mask"])
    truth = clips[:, scored(clips.shape[1])]
    for name, guess in (("first", clips[:, :1]), ("mean", clips.mean(axis=1, keepdims=True))):
      totals[name] += float((np.square(guess - truth).mean(axis=(1, 2, 3, 4)) * mask).sum())
    totals["count"] += float(mask.sum())
  totals = sums({name: np.asarray(value) for name, value in totals.items()})
  return {
    title: {"val/reconstruction": float(totals[name] / totals["count"])}
    for title, name in (("first frame", "first"), ("mean frame", "mean"))
  }


def scored(frames: int) -> list[int]:
  """The frames that are decoded in a validation: the middle and the last one."""
  return sorted({(frames - 1) // 2, frames - 1})
