"""Labels of pictures, typed: classes with names, numbers, identities; what is missing is a mask of its own.

A class column holds indices into the names of its classes, which are what the table says, in the order of
numbers or of names. Nothing else is special: -1 is a class or a number like any other.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pdr_jax.data.matching import normal, shared_folders
from pdr_jax.errors import UserError

CLASSES, NUMBERS, IDENTITY = "classes", "numbers", "identity"
KINDS = (CLASSES, NUMBERS, IDENTITY)
# As pandas reads them, and a question mark.
MISSING = frozenset((
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null", "?",
))
PARTS = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "valid", "val", "dev", "publictest"),
    "test": ("test", "testing", "tst", "privatetest"),
}
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d*,\d+)([eE][+-]?\d+)?", re.ASCII)
_PADDED = re.compile(r"[+-]?0\d+", re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_FEW = 20  # different whole numbers that are taken for classes, unless the column's name says what they are
_LONG = 10  # digits; whole numbers as long as that are names of something
_MEASURES = frozenset((
    "age", "ages", "year", "years", "month", "day", "hour", "deg", "degree", "degrees", "angle", "azimuth", "elevation", "yaw",
    "pitch", "roll", "pan", "tilt", "x", "y", "z", "width", "height", "weight", "size", "length", "distance", "depth", "score",
    "rating", "intensity", "valence", "arousal", "temperature", "time", "price", "count", "number", "value",
))
_NAMES = frozenset((
    "class", "classes", "label", "labels", "category", "group", "type", "kind", "code", "bin", "level", "index", "zip", "plz",
))
_IDENTITIES = frozenset((
    "id", "ids", "identity", "person", "people", "subject", "who", "individual", "actor", "speaker", "celebrity",
))


class Column(NamedTuple):
  """One typed column of N pictures.

  Attributes:
    values: int32 indices into `classes`, or float64 numbers. What stands where something is missing has no
      meaning.
    missing: where nothing was given.
    classes: the names of the classes; () for numbers.
    kind: classes, numbers or identity.
    note: what was decided by looking, for the user.
  """

  values: np.ndarray
  missing: np.ndarray
  classes: tuple[str, ...]
  kind: str
  note: str = ""


class Labels(NamedTuple):
  """Typed columns by name, a line about each source, and the published part (train, validation, test) of each
  picture.

  `parts` is None where nothing was published, and "" for a picture without a part.
  """

  columns: dict[str, Column]
  notes: tuple[str, ...] = ()
  parts: tuple[str, ...] | None = None


def column(name: str, cells: Sequence[str | None], kind: str = "", where: str = "") -> Column | None:
  """Types one column.

  Args:
    name: of the column; it helps to tell classes of whole numbers from measures.
    cells: as the table has them, stripped; None where the table has no row.
    kind: the kind that the user wants; "" to decide by looking.
    where: the table, for messages.

  Returns: None for a column without any value.
  Raises UserError: a cell that is not of the wanted kind; an infinite number.
  """
  missing = np.array([cell is None or cell in MISSING for cell in cells], bool)
  given = [cell for cell, gone in zip(cells, missing, strict=True) if not gone]
  if not given:
    return None
  comma = any("," in cell for cell in given) and all(_DECIMAL_COMMA.fullmatch(cell) for cell in given)
  numeric = comma or all(_NUMBER.fullmatch(cell) for cell in given)
  infinite = next((cell for cell in given if _INFINITE.fullmatch(cell)), None)
  if infinite and all(_NUMBER.fullmatch(cell) or _INFINITE.fullmatch(cell) for cell in given):
    raise UserError(f"{where}: column {name!r} holds {infinite}, which is no number to learn: leave the cell empty")
  if kind == NUMBERS and not numeric:
    word = next(cell for cell in given if not (_DECIMAL_COMMA if comma else _NUMBER).fullmatch(cell))
    raise UserError(f"{where}: column {name!r} shall hold numbers (data.label_kinds) but holds {word[:40]!r}")
  note = ""
  if not kind:
    kind, note = _guess(name, given, numeric)
  if kind == NUMBERS:
    values = np.full(len(cells), np.nan)
    values[~missing] = [float(cell.replace(",", ".")) for cell in given]
    if not np.isfinite(values[~missing]).all():
      raise UserError(f"{where}: column {name!r} holds a number that is too large for 64 bits: write it shorter")
    return Column(values, missing, (), kind, ", ".join(filter(None, (note, "decimal comma" if comma else ""))))
  whole = all(_WHOLE.fullmatch(cell) for cell in given) and not any(_PADDED.match(cell) for cell in given)
  written = [str(int(cell.split(".")[0])) for cell in given] if whole else given
  names = sorted(set(written))
  if numeric:
    names.sort(key=lambda text: (float(text.replace(",", ".")), text))
  if whole:
    names.sort(key=int)  # ids are longer than what a float tells apart
  index = {text: i for i, text in enumerate(names)}
  values = np.full(len(cells), -1, np.int32)
  values[~missing] = [index[text] for text in written]
  return Column(values, missing, tuple(names), kind, note)


def _guess(name: str, given: Sequence[str], numeric: bool) -> tuple[str, str]:
  """The kind of a column, and a note where it is a guess."""
  tokens = set(re.split(r"[^a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()))
  identity = IDENTITY if tokens & _IDENTITIES else CLASSES
  if not numeric:
    return identity, ""
  if not all(_WHOLE.fullmatch(cell) for cell in given):
    return NUMBERS, ""
  if any(_PADDED.match(cell) for cell in given) or max(len(cell.split(".")[0].lstrip("+-")) for cell in given) >= _LONG:
    return (IDENTITY if len(set(given)) > _FEW else identity), ""
  different = {int(cell.split(".")[0]) for cell in given}
  if identity == IDENTITY:
    return IDENTITY, ""
  if different <= {-1, 0, 1}:
    return CLASSES, ""
  if tokens & _NAMES:
    return CLASSES, ""
  if min(different) < 0 or tokens & _MEASURES:
    return NUMBERS, f"whole numbers, taken for numbers (--config.data.label_kinds={name}:classes makes them classes)"
  note = f"whole numbers, taken for classes (--config.data.label_kinds={name}:numbers makes them numbers)"
  return CLASSES, "" if len(different) <= _FEW and max(different) < len(different) + 1 else note


def read_kinds(text: str) -> dict[str, str]:
  """`data.label_kinds`: `age:numbers,zip:classes` -> {"age": "numbers", "zip": "classes"}. Raises UserError.
  """
  kinds = {}
  for entry in filter(None, (entry.strip() for entry in text.split(","))):
    name, _, kind = entry.rpartition(":")
    if kind not in KINDS or not name:
      raise UserError(f"data.label_kinds: {entry!r} is not COLUMN:KIND with a kind of {', '.join(KINDS)}")
    kinds[name] = kind
  return kinds


def arrays(labels: Labels, rows: Sequence[int]) -> dict[str, np.ndarray]:
  """What batches hold of some pictures: `label/NAME`, and `missing/NAME` where any picture of the set lacks
  it.
  """
  rows = np.asarray(rows, int)
  found = {}
  for name, entry in labels.columns.items():
    found[f"label/{name}"] = entry.values[rows]
    if entry.missing.any():
      found[f"missing/{name}"] = entry.missing[rows]
  return found


def part_of(word: str) -> str:
  """train, validation or test where a word means one of them, such as PublicTest; else ""."""
  return next((part for part, words in PARTS.items() if word.lower() in words), "")


def from_folders(names: Sequence[str]) -> Labels:
  """The column `class` of the first folder that differs among the pictures; folders called train and test are
  parts.

  There is no column where that gives fewer than two classes, or where a picture lies in no such folder (but
  for the parts that have no classes, as an unlabelled test part).
  """
  paths = [normal(name) for name in names]
  shared = shared_folders(paths)
  below = [path.split("/")[shared:-1] for path in paths]
  parts, notes = None, []
  if all(below):
    meanings = {word: _part_in(word) for word in sorted({folder[0] for folder in below})}
    if "train" in meanings.values() and len(set(meanings.values()) - {""}) > 1:
      parts = tuple(meanings[folder[0]] for folder in below)
      told = ", ".join(f"{word} is {part or 'left out'}" for word, part in meanings.items())
      notes.append(f"folders are the published split: {told}")
      below = _without_wrapping([folder[1:] for folder in below], parts)
  cells = [folder[0] if folder else None for folder in below]
  given = {cell for cell in cells if cell is not None}
  if len(given) < 2 or (parts is None and None in cells):
    return Labels({}, tuple(notes), parts)
  index = {text: i for i, text in enumerate(sorted(given, key=_by_number))}
  missing = np.array([cell is None for cell in cells])
  values = np.array([index.get(cell, -1) for cell in cells], np.int32)
  entry = Column(values, missing, tuple(index), CLASSES)
  notes.append(f"folders give {describe('class', entry, cells)}")
  return Labels({"class": entry}, tuple(notes), parts)


def _part_in(word: str) -> str:
  """The part that a folder's name speaks of, as in seg_train; "" where it speaks of none, or of two."""
  meant = {part_of(token) for token in re.split(r"[^A-Za-z]+", word)} - {""}
  return meant.pop() if len(meant) == 1 else ""


def _without_wrapping(folders: list[list[str]], parts: Sequence[str]) -> list[list[str]]:
  """Takes off a folder that all pictures of a part share and that holds folders, as in
  seg_train/seg_train/CLASS.
  """
  for part in set(parts):
    rows = [i for i, other in enumerate(parts) if other == part]
    while all(len(folders[i]) > 1 for i in rows) and len({folders[i][0] for i in rows}) == 1:
      for i in rows:
        folders[i] = folders[i][1:]
  return folders


def _by_number(text: str) -> tuple:
  return (0, int(text), text) if text.isascii() and text.isdigit() else (1, 0, text)


def describe(name: str, entry: Column, cells: Sequence[str | None]) -> str:
  """One line about a column: its kind, its classes with counts or its range, and what is missing."""
  known = ~entry.missing
  if entry.kind == NUMBERS:
    line = f"numbers from {entry.values[known].min():g} to {entry.values[known].max():g}"
  else:
    counts = np.bincount(entry.values[known], minlength=len(entry.classes))
    shown = ", ".join(f"{text[:30]} {count:,}" for text, count in list(zip(entry.classes, counts, strict=True))[:_SHOWN])
    more = ", ..." if len(entry.classes) > _SHOWN else ""
    line = f"{len(entry.classes):,} {'identities' if entry.kind == IDENTITY else 'classes'} ({shown}{more})"
  gone = Counter(cell for cell, lost in zip(cells, entry.missing, strict=True) if lost and cell is not None)
  if gone:
    marks = ", ".join(f"{mark or 'empty'} {count:,}" for mark, count in gone.most_common())
    line += f", missing {sum(gone.values()):,} ({marks})"
  return f"{name}: {line}" + (f"; {entry.note}" if entry.note else "")


_SHOWN = 8  # classes of a column in its line
