"""What every task reads: features by block and labels by name, and the checks and selections that come before any fit."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from pdr_jax.errors import UserError

ROUNDING = 1e-6  # a column whose deviation is below this share of its size is constant
OUTLIER = 10.0  # deviations
JOINED = ("depth", "albedo")  # the pair of blocks that the paper's smaller probe reads


class Features(NamedTuple):
  """Features and labels of one split, the same N examples in the same order.

  `labels` are int32 classes (-1 is missing) or float32 numbers (NaN is missing); `classes` names the classes of a label, where it has
  names.
  """
  blocks: dict[str, Float[np.ndarray, "N _"]]
  labels: dict[str, Shaped[np.ndarray, " N"]]
  classes: dict[str, tuple[str, ...]]


def size(features: Features) -> int:
  """How many examples there are."""
  return min((len(block) for block in features.blocks.values()), default=0)


def take(features: Features, rows: Shaped[np.ndarray, " N"]) -> Features:
  """Some of the examples, by a mask or by their indices."""
  return Features({name: block[rows] for name, block in features.blocks.items()},
                  {name: label[rows] for name, label in features.labels.items()}, features.classes)


def labelled(features: Features, labels: Sequence[str]) -> Features:
  """The examples for which none of these labels is missing."""
  known = np.ones(size(features), bool)
  for name in labels:
    values = features.labels[name]
    known &= np.isfinite(values) if np.issubdtype(values.dtype, np.floating) else values >= 0
  return take(features, known)


def class_count(name: str, *splits: Features) -> int:
  """How many classes a label has: as many as it names, or as its largest value in these splits needs."""
  return max(max(len(split.classes.get(name, ())), int(split.labels[name].max(initial=-1)) + 1) for split in splits)


def select(features: Features, subset: Sequence[str]) -> Float[np.ndarray, "N D"]:
  """The named blocks side by side, in the order of the names."""
  return np.concatenate([np.asarray(features.blocks[name], np.float32) for name in subset], axis=1)


def subsets(blocks: Collection[str]) -> dict[str, tuple[str, ...]]:
  """The selections that are compared: each block alone, depth and albedo together where both exist, and all; none twice."""
  blocks = tuple(blocks)
  chosen = {name: (name,) for name in blocks}
  for name, subset in (("+".join(JOINED), JOINED), ("all", blocks)):
    if len(subset) > 1 and set(subset) <= set(blocks) and set(subset) not in map(set, chosen.values()):
      chosen[name] = subset
  return chosen


def standardize(train: Float[np.ndarray, "N D"], *others: Float[np.ndarray, "_ D"]) -> tuple[Float[np.ndarray, "_ D"], ...]:
  """All of them with the mean and deviation of `train` taken out; columns that say nothing in `train` become zero in all.

  These are constant ones, and those of which a single example makes up a quarter of the variance (and is ten deviations off): units that
  hardly ever fire. In these deviations a test example can be a thousand away, and would alone decide a probe's score.
  """
  exact = np.asarray(train, np.float64)
  mean, deviation = exact.mean(axis=0), exact.std(axis=0)
  varies = deviation > ROUNDING * np.sqrt(np.mean(exact**2, axis=0))
  farthest = np.abs(exact - mean).max(axis=0, initial=0.0)
  varies &= farthest**2 < max(len(exact) / 4, OUTLIER**2) * deviation**2
  factor = np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0)
  return tuple(((part - mean) * factor).astype(np.float32) for part in (train, *others))


def split_off(count: int, share: float, seed: int) -> tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]:
  """Sorted indices of what stays and of the share that is held out (at least one each), chosen by the seed."""
  order = np.random.default_rng(seed).permutation(count)
  held_out = min(max(round(share * count), 1), count - 1)
  return np.sort(order[held_out:]), np.sort(order[:held_out])


def check(features: Features, split: str, labels: Sequence[str] = (), *, examples: int = 1) -> None:
  """Raises `UserError` for what no task can use; `split` is the name to show.

  Nothing in the split; a feature that is NaN or infinite; a label that does not exist; a label without a value; a class of an integer
  label with fewer than `examples` examples, if it has one at all.
  """
  if not features.blocks or size(features) == 0:
    raise UserError(f"the {split} split has no example: choose another split or a dataset that has one")
  for name, block in features.blocks.items():
    bad = ~np.isfinite(block).all(axis=1)
    if bad.any():
      raise UserError(f"the features of block {name!r} are NaN or infinite for {bad.sum()} of {len(block)} examples of the {split} split: "
                      "the encoder diverged or its checkpoint is damaged; evaluate another checkpoint")
  for name in labels:
    if name not in features.labels:
      raise UserError(f"the {split} split has no label {name!r}: it has {', '.join(sorted(features.labels)) or 'none'}")
    values = labelled(features, [name]).labels[name]
    if len(values) == 0:
      raise UserError(f"label {name!r} is missing for every example of the {split} split: choose another label")
    if np.issubdtype(values.dtype, np.integer):
      _check_classes(features, split, name, values, examples)


def classified(train: Features, test: Features, labels: Sequence[str]) -> tuple[Features, Features]:
  """Both splits without the examples that lack one of these labels. Raises `UserError` where they cannot teach or test a classifier."""
  for split, part, examples in (("train", train, 2), ("test", test, 1)):
    check(part, split, labels, examples=examples)
    for name in labels:
      if not np.issubdtype(part.labels[name].dtype, np.integer):
        raise UserError(f"label {name!r} holds numbers, not classes: choose a label of whole numbers, or regress on it")
  train, test = labelled(train, labels), labelled(test, labels)
  check(train, "train", labels, examples=2)  # again: of the examples that have all labels
  check(test, "test", labels)
  for name in labels:
    if len(np.unique(train.labels[name])) < 2:
      raise UserError(f"label {name!r} has the same value in the whole train split: there is nothing to learn; choose another label")
  return train, test


def _check_classes(features: Features, split: str, name: str, values: Int[np.ndarray, " N"], examples: int) -> None:
  counts = np.bincount(values)
  few = [index for index in np.flatnonzero(counts) if counts[index] < examples]
  if few:
    title = features.classes[name][few[0]] if name in features.classes else str(few[0])
    others = f" and {len(few) - 1} more classes" if len(few) > 1 else ""
    raise UserError(f"label {name!r}: class {title!r}{others} has fewer than {examples} examples in the {split} split: "
                    "add examples or remove the class")
