"""Scores of segmentation, from one confusion matrix of all pixels of a data set.

`classification.confusion` makes the matrix.
"""

import numpy as np
from jaxtyping import Int


def segmentation(counts: Int[np.ndarray, "C C"]) -> dict[str, float | list[float | None]]:
  """`miou` over the classes that occur in truth, `iou` of each, and `pixel_accuracy`.

  `iou` is None for the classes that do not occur.
  """
  right = np.diagonal(counts)
  true = counts.sum(axis=1)
  called = counts.sum(axis=0)
  iou = [float(r / (t + c - r)) if t > 0 else None for r, t, c in zip(right, true, called, strict=True)]
  return {
      "miou": float(np.mean([value for value in iou if value is not None])),
      "iou": iou,
      "pixel_accuracy": float(right.sum() / counts.sum()),
  }
