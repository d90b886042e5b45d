"""Scores of segmentation, from one confusion matrix of all pixels of a data set
(`classification.confusion`).
"""

import numpy as np
from jaxtyping import Int


def segmentation(counts: Int[np.ndarray, "C C"]) -> dict[str, float | list[float | None]]:
  """`miou` over the classes that occur in truth, `iou` of each (None for the others), and
  `pixel_accuracy`.
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
