"""Who is in the training split and who in validation: fixed by names and a seed, so that adding or losing a file moves no other."""

import hashlib
from collections.abc import Sequence

from pdr_jax.errors import UserError

_TRAIN, _VALIDATION = ("train", "training"), ("validation", "val", "valid", "test")


def rank(seed: int, name: str) -> bytes:
  return hashlib.blake2b(f"{seed}/{name}".encode("utf-8", "surrogateescape"), digest_size=8).digest()


def sizes(total: int, train_examples: int, val_examples: int) -> tuple[int, int]:
  """(training, validation) sizes: validation is val_examples (0: a tenth), at most half; training at most train_examples (0: all)."""
  if train_examples < 0 or val_examples < 0:
    raise UserError("data.train_examples and data.val_examples are counts: 0 (all, a tenth) or more")
  validation = min(val_examples or (total + 9) // 10, total // 2)
  train = total - validation
  return (min(train, train_examples) if train_examples else train), validation


def by_seed(names: Sequence[str], seed: int, train_examples: int, val_examples: int) -> tuple[list[int], list[int]]:
  """Random split: indices into `names` for (train, validation), disjoint, each in a random order fixed by the seed and the names."""
  order = sorted(range(len(names)), key=lambda i: rank(seed, names[i]))
  train, validation = sizes(len(names), train_examples, val_examples)
  return order[validation:validation + train], order[:validation]


def by_value(names: Sequence[str], values: Sequence, column: str, seed: int, train_examples: int,
             val_examples: int) -> tuple[list[int], list[int]]:
  """Split that keeps the images of one value (one person, say) together, as in `by_seed`.

  Whole values go to validation, in a random order, until it is large enough. A column that itself says `train` and `validation`
  (or val, valid, test) is taken at its word. Raises UserError where the column has a single value.
  """
  order = sorted(range(len(names)), key=lambda i: rank(seed, names[i]))
  words = {str(value).lower() for value in values}
  given = next((word for word in _VALIDATION if word in words), None)
  if given and any(word in words for word in _TRAIN):
    validation = [i for i in order if str(values[i]).lower() == given]
    train = [i for i in order if str(values[i]).lower() in _TRAIN]
    return train[:train_examples or None], validation[:val_examples or None]
  if len(words) < 2:
    raise UserError(f"data.split_by={column}: every image has the same value there, nothing can be kept apart; use data.split_by=seed")
  _, wanted = sizes(len(names), train_examples, val_examples)
  groups: dict[str, list[int]] = {}
  for i in order:
    groups.setdefault(str(values[i]), []).append(i)
  held: set[str] = set()
  count = 0
  ranked = sorted(groups, key=lambda value: rank(seed, f"value/{value}"))
  for value in ranked[:-1]:  # at least one value is left for training
    if count >= wanted:
      break
    held.add(value)
    count += len(groups[value])
  validation = [i for i in order if str(values[i]) in held][:wanted]
  train = [i for i in order if str(values[i]) not in held]
  return train[:train_examples or None], validation


def test_of(names: Sequence[str], values: Sequence, seed: int) -> list[int]:
  """What a column calls `test`, in a random order, where it names `train` and another validation split as well; else nothing."""
  words = [str(value).lower() for value in values]
  if not (set(_TRAIN) & set(words) and set(_VALIDATION[:-1]) & set(words)):
    return []
  return sorted((i for i, word in enumerate(words) if word == "test"), key=lambda i: rank(seed, names[i]))


def by_words(names: Sequence[str], words: Sequence[str], seed: int, train_examples: int,
             val_examples: int) -> tuple[list[int], list[int], list[int]]:
  """A published split: (train, validation, test) of `words`, each in a random order. Without validation, the seed takes a part of train."""
  order = sorted(range(len(names)), key=lambda i: rank(seed, names[i]))
  train, validation, test = ([i for i in order if words[i] == word] for word in ("train", "validation", "test"))
  if not validation:
    validation = train[:sizes(len(train), train_examples, val_examples)[1]]
    train = train[len(validation):]
  return train[:train_examples or None], validation[:val_examples or None], test
