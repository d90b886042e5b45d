"""Baselines of methods on clips: one frame in the place of all frames that are asked for."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

Split = Callable[[np.ndarray], tuple[np.ndarray, Mapping[str, np.ndarray]]]


def errors(
  batches: Iterable[Mapping[str, Any]], sums: Callable[[dict], dict], metric: str, split: Split
) -> dict[str, dict[str, float]]:
  """`{title: {metric: mean squared error over the split}}`.

  Args:
    batches: with `clip` `[B,T,S,S,C]` and `_mask` `[B]`.
    sums: adds numbers up over the processes.
    split: clips to the frames that are asked for, `[B,F,S,S,C]`, and what stands in their place, by title,
      each `[B,1,S,S,C]`.
  """
  totals: dict[str, float] = {}
  count = 0.0
  for batch in batches:
    mask = np.asarray(batch["_mask"])
    truth, guesses = split(np.asarray(batch["clip"]))
    for title, guess in guesses.items():
      squares = np.square(guess - truth).mean(axis=(1, 2, 3, 4))
      totals[title] = totals.get(title, 0.0) + float((squares * mask).sum())
    count += float(mask.sum())
  summed = sums({title: np.asarray(value) for title, value in (totals | {"": count}).items()})
  return {title: {metric: float(summed[title] / summed[""])} for title in totals}
