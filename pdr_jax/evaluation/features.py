"""What every task reads: features by block and labels by name.

The checks and selections before any fit are here too.
"""

import types
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from pdr_jax.errors import UserError

JOINED = ("depth", "albedo")  # the pair of blocks that the published smaller probe reads
NORMALIZED, NORMALIZED_FULL = "normalized", "normalized_full"  # blocks of pictures (`evaluation.normalized`)
ENCODER = "encoder"  # all blocks of the encoder, where there are others


class Features(NamedTuple):
  """Features and labels of one split, the same N examples in the same order.

  Attributes:
    blocks: features by block, float32 `[N, D]`.
    labels: by name, int32 class indices or float64 numbers `[N]`.
    classes: names of the classes of a label, where it has names.
    missing: by name, true where an example has no value of that label; a label that is not in here has all.
  """

  blocks: dict[str, Float[np.ndarray, "N _"]]
  labels: dict[str, Shaped[np.ndarray, " N"]]
  classes: dict[str, tuple[str, ...]]
  missing: Mapping[str, Bool[np.ndarray, " N"]] = types.MappingProxyType({})


def size(features: Features) -> int:
  """How many examples there are."""
  return min((len(block) for block in features.blocks.values()), default=0)


def take(features: Features, rows: Shaped[np.ndarray, " _"]) -> Features:
  """Some of the examples, by a mask or by their indices."""
  return features._replace(
      blocks={name: block[rows] for name, block in features.blocks.items()},
      labels={name: label[rows] for name, label in features.labels.items()},
      missing={name: absent[rows] for name, absent in features.missing.items()},
  )


def concatenate(first: Features, second: Features) -> Features:
  """The examples of both, with the labels and blocks that the first has."""
  missing = {
      name: np.concatenate([absent(first, name), absent(second, name)])
      for name in first.labels
      if name in first.missing or name in second.missing
  }
  return Features(
      {name: np.concatenate([block, second.blocks[name]]) for name, block in first.blocks.items()},
      {name: np.concatenate([label, second.labels[name]]) for name, label in first.labels.items()},
      first.classes,
      missing,
  )


def absent(features: Features, label: str) -> Bool[np.ndarray, " N"]:
  """True where an example has no value of this label."""
  nothing = np.zeros(len(features.labels[label]), bool)
  return features.missing.get(label, nothing)


def values(features: Features, label: str) -> Shaped[np.ndarray, " _"]:
  """The values of a label that are not missing."""
  return features.labels[label][~absent(features, label)]


def labelled(features: Features, labels: Sequence[str]) -> Features:
  """The examples for which none of these labels is missing."""
  known = np.ones(size(features), bool)
  for name in labels:
    known &= ~absent(features, name)
  return take(features, known)


def people_in(features: Features, identity: str) -> Int[np.ndarray, " N"] | None:
  """Who is on each example, -1 where nobody knows; None where the data have no such label."""
  if identity not in features.labels or not is_class(features, identity):
    return None
  return np.where(absent(features, identity), -1, features.labels[identity]).astype(np.int32)


def is_class(features: Features, label: str) -> bool:
  """Whether a label holds classes; otherwise it holds numbers."""
  return bool(np.issubdtype(features.labels[label].dtype, np.integer))


def class_count(name: str, *splits: Features) -> int:
  """How many classes a label has: as many as it names, or as its largest value in these splits needs."""
  return max(
      max(len(split.classes.get(name, ())), int(values(split, name).max(initial=-1)) + 1) for split in splits
  )


def class_name(features: Features, label: str, index: int) -> str:
  """What a class of a label is called; its number where it has no name."""
  names = features.classes.get(label, ())
  return names[index] if index < len(names) else str(index)


def select(features: Features, subset: Sequence[str]) -> Float[np.ndarray, "N D"]:
  """The named blocks side by side, in the order of the names."""
  return np.concatenate([np.asarray(features.blocks[name], np.float32) for name in subset], axis=1)


def of_encoder(blocks: Collection[str]) -> tuple[str, ...]:
  """The blocks that are not normalised pictures."""
  return tuple(name for name in blocks if name not in (NORMALIZED, NORMALIZED_FULL))


def subsets(blocks: Collection[str]) -> dict[str, tuple[str, ...]]:
  """The selections that are compared; none occurs twice.

  They are each block, depth and albedo together where both exist, all of the encoder's, and all. Whole
  normalised pictures stand for themselves: their principal components are among all already.
  """
  blocks = tuple(blocks)
  chosen = {name: (name,) for name in blocks}
  everything = tuple(name for name in blocks if name != NORMALIZED_FULL)
  encoder = of_encoder(blocks)
  joined = (("+".join(JOINED), JOINED), (ENCODER if encoder != everything else "all", encoder))
  for name, subset in (*joined, ("all", everything)):
    new = set(subset) not in map(set, chosen.values())
    if len(subset) > 1 and set(subset) <= set(blocks) and new:
      chosen[name] = subset
  return chosen


# ---------------------------------------------------------------- checks


def check(features: Features, split: str, labels: Sequence[str] = (), *, examples: int = 1) -> None:
  """Raises `UserError` for what no task can use; `split` is the name to show.

  Nothing in the split; a feature that is NaN or infinite; a label that does not exist; a label without a
  value; a number that is NaN or infinite; a class with fewer than `examples` examples, if it has one at all.
  """
  if not features.blocks or size(features) == 0:
    raise UserError(f"the {split} split has no example: choose another split or a dataset that has one")
  for name, block in features.blocks.items():
    bad = ~np.isfinite(block).all(axis=1)
    if bad.any():
      raise UserError(
          f"the features of block {name!r} are NaN or infinite for {bad.sum()} of {len(block)} examples of "
          f"the {split} split: the encoder diverged or its checkpoint is damaged; evaluate another checkpoint"
      )
  for name in labels:
    if name not in features.labels:
      names = ", ".join(sorted(features.labels)) or "none"
      raise UserError(f"the {split} split has no label {name!r}: it has {names}")
    known = values(features, name)
    if len(known) == 0:
      raise UserError(
          f"label {name!r} is missing for every example of the {split} split: choose another label"
      )
    if is_class(features, name):
      _check_classes(features, split, name, known, examples)
    elif not np.isfinite(known).all():
      raise UserError(
          f"label {name!r} is NaN or infinite for {(~np.isfinite(known)).sum()} examples of the {split} "
          "split that are not marked as missing: correct the data"
      )


def classified(train: Features, test: Features, labels: Sequence[str]) -> tuple[Features, Features]:
  """Both splits without the examples that lack one of these labels.

  Raises `UserError` where they cannot teach or test a classifier.
  """
  for split, part, examples in (("train", train, 2), ("test", test, 1)):
    check(part, split, labels, examples=examples)
    for name in labels:
      if not is_class(part, name):
        raise UserError(
            f"label {name!r} holds numbers, not classes: choose a label of classes, or regress on it"
        )
  train, test = labelled(train, labels), labelled(test, labels)
  check(train, "train", labels, examples=2)  # again: of the examples that have all labels
  check(test, "test", labels)
  for name in labels:
    if len(np.unique(train.labels[name])) < 2:
      raise UserError(
          f"label {name!r} has the same value in the whole train split: there is nothing to learn; choose "
          "another"
      )
  return train, test


def _check_classes(
    features: Features, split: str, name: str, known: Int[np.ndarray, " N"], examples: int
) -> None:
  if known.min() < 0:
    raise UserError(f"label {name!r} has the class {known.min()} in the {split} split: classes count from 0")
  counts = np.bincount(known)
  few = [index for index in np.flatnonzero(counts) if counts[index] < examples]
  if few:
    others = f" and {len(few) - 1} more classes have" if len(few) > 1 else " has"
    few_ones = f"class {class_name(features, name, int(few[0]))!r}{others} fewer than {examples} examples"
    raise UserError(
        f"label {name!r}: {few_ones} in the {split} split: add examples or remove the class"
    )
