"""Who is in the training split and who in validation.

Names and a seed fix it, so that a file more moves no other.
"""

import hashlib
import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pdr_jax.data.labels import PARTS, Labels, part_of, plain
from pdr_jax.errors import UserError

# Columns of whole numbers with such names are asked which is which.
_PART_NAMES = frozenset(
    ("split", "splits", "partition", "part", "set", "subset", "usage", "fold", "phase", "mode", *PARTS)
)

HoldOut = Callable[[list[int]], tuple[list[int], list[int]]]  # train -> (train, validation)


class Chosen(NamedTuple):
  """Indices into the names of the pictures, each in a random order, and a line for the user.

  The line is "" where the seed chose.
  """

  train: list[int]
  validation: list[int]
  test: list[int]
  note: str = ""


def rank(seed: int, name: str) -> bytes:
  """What a picture is sorted by."""
  return hashlib.blake2b(f"{seed}/{name}".encode("utf-8", "surrogateescape"), digest_size=8).digest()


def sizes(total: int, train_examples: int, val_examples: int) -> tuple[int, int]:
  """(training, validation) sizes.

  Validation has `val_examples` (0: a tenth), at most half; training at most `train_examples` (0: all).
  """
  if train_examples < 0 or val_examples < 0:
    raise UserError("data.train_examples and data.val_examples are counts: 0 (all, a tenth) or more")
  validation = min(val_examples or (total + 9) // 10, total // 2)
  train = total - validation
  return (min(train, train_examples) if train_examples else train), validation


def choose(
  data, names: Sequence[str], labels: Labels, apart: str = "", hold_out: HoldOut | None = None
) -> Chosen:
  """The split that `data.split_by` asks for.

  * `seed`: the published split of the pictures where there is one (folders called train and test, CelebA's
    list), else a random one; where `apart` names a column, whole values of it.
  * `COLUMN`: a column that says train, validation and test is taken at its word; of any other, whole values
    are kept apart, so that no person, say, is on both sides.
  * `COLUMN:VALUE=PART,...` says which value means which part.

  Args:
    data: the section of the configuration; `split_by`, `scene_seed`, `train_examples` and `val_examples` are
      read.
    hold_out: see `by_parts`.

  Raises UserError: no such column; values that do not say which part they are; one value alone.
  """
  seed, counts = data.scene_seed, (data.train_examples, data.val_examples)
  column = data.split_by.partition(":")[0]
  if _published(data.split_by, labels):
    return by_parts(names, labels.parts, seed, *counts, hold_out)
  if column == "seed" and apart:
    words = [value if value is None else str(value) for value in plain(labels.columns[apart])]
    return by_value(names, words, apart, seed, *counts)
  if column == "seed":
    train, validation = by_seed(names, seed, *counts)
    return Chosen(train, validation, [], unused_parts(labels))
  column, words, meaning = _column(data.split_by, labels)
  if not meaning:
    return by_value(names, words, column, seed, *counts)
  chosen = by_parts(names, _parts(words, meaning), seed, *counts, hold_out)
  told = ", ".join(f"{word} is {part}" for word, part in meaning.items() if word.lower() != part)
  note = f"split by {column}" + (f" ({told})" if told else "")
  return chosen._replace(note="; ".join(filter(None, (note, chosen.note))))


def deciding(split_by: str, labels: Labels) -> Sequence[str | None]:
  """What decides the part of each picture, other than a random order.

  It is the part itself, or a value whose pictures are kept together; "" or None where there is neither.
  Raises UserError as `choose`.
  """
  if _published(split_by, labels):
    return labels.parts
  _, words, meaning = _column(split_by, labels)
  return _parts(words, meaning) if meaning else words


def _published(split_by: str, labels: Labels) -> bool:
  """Is the split that of published parts?"""
  column = split_by.partition(":")[0]
  return bool(labels.parts) and (
    column == "seed" or (column not in labels.columns and column in _PART_NAMES)
  )


def _column(split_by: str, labels: Labels) -> tuple[str, list[str | None], Mapping[str, str]]:
  """The column that is named, its values, and the parts they mean ({}: they are to be kept apart)."""
  column, _, mapping = split_by.partition(":")
  if split_by in labels.columns:  # a name with a colon
    column, mapping = split_by, ""
  if column not in labels.columns:
    known = ", ".join(labels.columns) or "there are no labels"
    raise UserError(f"data.split_by={column} is no column of the labels; use seed, or one of: {known}")
  words = [value if value is None else str(value) for value in plain(labels.columns[column])]
  return column, words, _meanings(column, mapping, {word for word in words if word is not None})


def _parts(words: Sequence[str | None], meaning: Mapping[str, str]) -> list[str]:
  return ["" if word is None else meaning.get(word, "") for word in words]


def unused_parts(labels: Labels) -> str:
  """A line about columns that say which part a picture is of, where the split is a random one."""
  for name, entry in labels.columns.items():
    words = entry.classes
    told = len({part_of(word) for word in words} - {""}) > 1
    numbered = 1 < len(words) <= 3 and set(words) <= {"0", "1", "2"} and _speaks_of_parts(name)
    if told or numbered:
      shown = ", ".join(words[:5])
      key = shlex.quote(f"--config.data.split_by={name}")
      return f"the split is random; column {name} has {shown}: {key} splits by it"
  return ""


def _speaks_of_parts(column: str) -> bool:
  return bool(set(re.split(r"[^a-z]+", column.lower())) & _PART_NAMES)


def _meanings(column: str, mapping: str, words: set[str]) -> Mapping[str, str]:
  """The part of each value, where the values are parts; {} where they are to be kept apart.

  Raises UserError.
  """
  if mapping:
    meaning = {}
    for entry in mapping.split(","):
      word, _, part = (text.strip() for text in entry.partition("="))
      if word not in words or not part_of(part):
        choice = f"a value of {', '.join(sorted(words)[:5])} and train, validation or test"
        raise UserError(f"data.split_by={column}:{mapping}: {entry!r} is not VALUE=PART with {choice}")
      meaning[word] = part_of(part)
  else:
    meaning = {word: part_of(word) for word in sorted(words) if part_of(word)}
    if not meaning and 1 < len(words) <= 3 and words <= {"0", "1", "2"} and _speaks_of_parts(column):
      example = ",".join(f"{word}={part}" for word, part in zip(sorted(words), PARTS, strict=False))
      reason = f"its values are {', '.join(sorted(words))}, and nothing says which is which"
      key = shlex.quote(f"--config.data.split_by={column}:{example}")
      raise UserError(f"data.split_by={column}: {reason}: write {key}")
    if len(set(meaning.values())) < 2:
      return {}
  if "train" not in meaning.values():
    raise UserError(f"data.split_by={column}: none of its values is train ({', '.join(sorted(words)[:5])})")
  return meaning


def by_seed(
    names: Sequence[str], seed: int, train_examples: int, val_examples: int
) -> tuple[list[int], list[int]]:
  """Random split: disjoint indices for (train, validation).

  Each is in a random order, fixed by the seed and the names.
  """
  order = _shuffled(names, seed)
  train, validation = sizes(len(names), train_examples, val_examples)
  return order[validation : validation + train], order[:validation]


def by_value(
    names: Sequence[str],
    values: Sequence[str | None],
    column: str,
    seed: int,
    train_examples: int,
    val_examples: int,
) -> Chosen:
  """Split that keeps the pictures of one value (one person, say) together, as in `by_seed`.

  Whole values go to validation, in a random order, until it is large enough. Pictures without a value (None)
  are left out: they could be of anybody. Raises UserError where the column has a single value.
  """
  order = [i for i in _shuffled(names, seed) if values[i] is not None]
  if len({values[i] for i in order}) < 2:
    reason = "every image has the same value there, nothing can be kept apart"
    raise UserError(f"data.split_by={column}: {reason}; use data.split_by=seed")
  _, wanted = sizes(len(order), train_examples, val_examples)
  counts = Counter(values[i] for i in order)
  outside: set[str] = set()
  ranked = sorted(counts, key=lambda value: rank(seed, f"value/{value}"))
  for value in ranked[:-1]:  # one is left for training
    if sum(counts[other] for other in outside) >= wanted:
      break
    outside.add(value)
  validation = [i for i in order if values[i] in outside][:wanted]
  train = [i for i in order if values[i] not in outside]
  note = f"the {len(counts):,} values of {column} are kept apart" + _left_out(len(names) - len(order))
  return Chosen(train[: train_examples or None], validation[: val_examples or None], [], note)


def by_parts(
  names: Sequence[str],
  parts: Sequence[str],
  seed: int,
  train_examples: int,
  val_examples: int,
  hold_out: HoldOut | None = None,
) -> Chosen:
  """A published split: `parts` has train, validation or test for each picture.

  Pictures that are left out have "". Without validation, `hold_out` gives (train, validation) of those of
  train, or else the seed takes a share of them. Test is never trained on and chooses no checkpoint.
  """
  order = _shuffled(names, seed)
  train, validation, test = ([i for i in order if parts[i] == part] for part in PARTS)
  note = ""
  if train and not validation:
    held_out = sizes(len(train), train_examples, val_examples)[1]
    train, validation = hold_out(train) if hold_out else (train[held_out:], train[:held_out])
    note = "validation is taken from train"
  note += _left_out(sum(part == "" for part in parts))
  train, validation = train[: train_examples or None], validation[: val_examples or None]
  return Chosen(train, validation, test, note.removeprefix(", "))


def _left_out(count: int) -> str:
  return f", {count:,} images without a part of it are left out" if count else ""


def _shuffled(names: Sequence[str], seed: int) -> list[int]:
  return sorted(range(len(names)), key=lambda i: rank(seed, names[i]))
