"""Several splits as one, one after the other; `label/set` says which one an example is of."""

from collections.abc import Collection, Sequence

import numpy as np

from pdr_jax.data.dataset import Arrays, Split

LABEL = "label/set"


class _Joined:
  """`Split.load` of splits one after the other: of the keys that all of them have."""

  def __init__(self, splits: Sequence[Split], keys: Collection[str]):
    self._splits, self._keys = splits, keys
    self._ends = np.cumsum([split.size for split in splits])

  def __call__(self, indices: np.ndarray, keys: Collection[str]) -> Arrays:
    member = np.searchsorted(self._ends, indices, side="right")
    rows: Arrays = {LABEL: member.astype(np.int32)} if LABEL in keys else {}
    wanted = [key for key in self._keys if key in keys]
    for number, split in enumerate(self._splits):
      places = np.flatnonzero(member == number)
      if not wanted or not len(places):
        continue
      loaded = split.load(indices[places] - (self._ends[number] - split.size), wanted)
      for key in wanted:
        values = loaded[key]
        if key not in rows:
          rows[key] = np.empty((len(indices), *values.shape[1:]), values.dtype)
        if (values.dtype, values.shape[1:]) != (rows[key].dtype, rows[key].shape[1:]):
          told = f"{values.dtype} {values.shape[1:]} and {rows[key].dtype} {rows[key].shape[1:]}"
          raise ValueError(f"joined splits have {key!r} as {told}")
        rows[key][places] = values
    return rows


def join(splits: Sequence[Split], keys: Collection[str], parts: Sequence[int] = ()) -> Split:
  """One split of several.

  Args:
    splits: whose examples follow each other.
    keys: of an example, in the order of batches; all splits have them, with equal shapes and types.
    parts: of every training batch, for each split; () where all examples are drawn alike.
  """
  sizes = [split.size for split in splits]
  shares = tuple(zip(sizes, parts, strict=True)) if parts else ()
  return Split(sum(sizes), _Joined(splits, keys), all(split.in_memory for split in splits), shares)
