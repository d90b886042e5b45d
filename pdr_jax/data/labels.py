"""Labels of pictures, typed: classes with names, numbers, identities; what is missing is a mask of its own.

A class column holds indices into the names of its classes, which are what the table says, in the order of
numbers or of names. Nothing else is special: -1 is a class or a number like any other.
"""

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pdr_jax.data.matching import normal, shared_folders
from pdr_jax.errors import UserError

CLASSES, NUMBERS, IDENTITY = "classes", "numbers", "identity"
KINDS = (CLASSES, NUMBERS, IDENTITY)
# As pandas reads them, and a question mark.
MISSING = frozenset((
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "?",
))
PARTS = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "validate", "valid", "val", "dev", "eval", "evaluation", "publictest"),
    "test": ("test", "testing", "tst", "privatetest"),
}
_WHOLE = re.compile(r"[+-]?\d{1,300}(\.0*)?", re.ASCII)  # Python reads no number of thousands of digits
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d*,\d+)([eE][+-]?\d+)?", re.ASCII)
_PADDED = re.compile(r"[+-]?0\d+", re.ASCII)
_DRESSED = re.compile(r"[^\w\s]?\s?\d[\d.,' ]*\s?(%|[^\W\d_]+\.?|°)?")  # 20 years, 10%, 1.000,5
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_FEW = 20  # different whole numbers that are taken for classes, unless the column's name says what they are
_LONG = 10  # digits; whole numbers as long as that are names of something
_MOSTLY = 0.5  # share of numbers in a column whose few words are remarked on
_ALIKE = 3  # columns of the same two classes, or of numbers, that are described one by one
_SHOWN = 8  # classes of a column in its line
_MEASURES = frozenset((
    "age", "ages", "year", "years", "month", "day", "hour", "deg", "degree", "degrees", "angle", "azimuth",
    "elevation", "yaw", "pitch", "roll", "pan", "tilt", "x", "y", "z", "width", "height", "weight", "size",
    "length", "distance", "depth", "score", "rating", "intensity", "valence", "arousal", "temperature",
    "time", "price", "count",
))
_NAMES = frozenset((
    "class", "classes", "label", "labels", "category", "group", "type", "kind", "code", "bin", "level",
    "index", "zip", "plz",
))
_IDENTITIES = frozenset((
    "id", "ids", "identity", "person", "people", "subject", "who", "individual", "actor", "speaker",
    "celebrity",
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
    guessed: these are whole numbers, and nothing says whether they are classes or numbers.
    marks: how missing values were written, with counts; pictures without a row do not count.
  """

  values: np.ndarray
  missing: np.ndarray
  classes: tuple[str, ...]
  kind: str
  note: str = ""
  guessed: bool = False
  marks: tuple[tuple[str, int], ...] = ()


class Labels(NamedTuple):
  """Typed columns by name, a line about each source, and the published part of each picture.

  The part is train, validation or test. `parts` is None where nothing was published, and "" for a picture
  without a part.
  """

  columns: dict[str, Column]
  notes: tuple[str, ...] = ()
  parts: tuple[str, ...] | None = None


def column(
    name: str, cells: Sequence[str | None], kind: str = "", where: str = "", titled: bool = True
) -> Column | None:
  """Types one column.

  Args:
    name: of the column; it helps to tell classes of whole numbers from measures.
    cells: as the table has them, stripped; None where the table has no row.
    kind: the kind that the user wants; "" to decide by looking.
    where: the table, for messages.
    titled: the user has called it by its name, which is else no hint.

  Returns: None for a column without any value.
  Raises UserError: a cell that is not of the wanted kind; an infinite number.
  """
  missing = np.array([cell is None or cell in MISSING for cell in cells], bool)
  given = [cell for cell, gone in zip(cells, missing, strict=True) if not gone]
  if not given:
    return None
  marks = tuple(Counter(cell for cell in cells if cell in MISSING).most_common())
  comma = any("," in cell for cell in given) and all(_DECIMAL_COMMA.fullmatch(cell) for cell in given)
  numeric = comma or all(_NUMBER.fullmatch(cell) for cell in given)
  _check_cells(name, given, kind, comma, where)
  guessed = False
  if not kind:
    kind, guessed = _guess(name if titled else "", given, numeric)
  if kind == NUMBERS:
    values = np.full(len(cells), np.nan)
    values[~missing] = [float(cell.replace(",", ".")) for cell in given]
    if not np.isfinite(values[~missing]).all():
      raise UserError(f"{where}: column {name!r} holds a number that is too large for 64 bits: mend it")
    return Column(values, missing, (), kind, "decimal comma" if comma else "", guessed, marks)
  words = {cell.lower() for cell in given}
  if words <= {"true", "false"} and len(words) < len(set(given)):  # true and TRUE are one, as pandas has it
    given = [cell.capitalize() for cell in given]
  whole = all(_WHOLE.fullmatch(cell) for cell in given) and not any(_PADDED.match(cell) for cell in given)
  written = [str(int(cell.split(".")[0])) for cell in given] if whole else given
  names = sorted(set(written))
  if whole:
    names.sort(key=int)  # ids are longer than what a float tells apart
  elif numeric:
    names.sort(key=lambda text: (float(text.replace(",", ".")), text))
  index = {text: i for i, text in enumerate(names)}
  values = np.full(len(cells), -1, np.int32)
  values[~missing] = [index[text] for text in written]
  return Column(values, missing, tuple(names), kind, "" if numeric else _remarks(given), guessed, marks)


def _remarks(given: Sequence[str]) -> str:
  """Remarks on classes that may not be meant as such."""
  return "; ".join(filter(None, (_stray_words(given), _dressed_numbers(given), _cases(given))))


def _dressed_numbers(given: Sequence[str]) -> str:
  """A remark on numbers that are written with a unit, a sign or marks that plain numbers do not have."""
  matches = [_DRESSED.fullmatch(cell) for cell in given]
  if not all(matches) or len({match[1] for match in matches}) > 1 or len(set(given)) < 2:
    return ""
  return f"classes because of how they are written ({given[0][:30]}): write plain numbers if they measure"


def _cases(given: Sequence[str]) -> str:
  """A remark on classes whose names differ in case alone."""
  spellings: dict[str, str] = {}
  for cell in given:
    first = spellings.setdefault(cell.casefold(), cell)
    if first != cell:
      return f"{first[:30]} and {cell[:30]} differ in case alone: they are two classes"
  return ""


def _stray_words(given: Sequence[str]) -> str:
  """A remark on words that make classes of what is otherwise a column of numbers."""
  words = list(dict.fromkeys(cell for cell in given if not _is_number(cell)))
  numbers = [cell for cell in given if _is_number(cell)]
  if len(words) > 3 or len(numbers) < _MOSTLY * len(given) or len(set(numbers)) < 2:
    return ""
  shown = ", ".join(word[:30] for word in words)
  return f"classes because of {shown}; the rest are numbers: empty those cells if they mean missing"


def _is_number(cell: str) -> bool:
  return bool(_NUMBER.fullmatch(cell) or _DECIMAL_COMMA.fullmatch(cell))


def _check_cells(name: str, given: Sequence[str], kind: str, comma: bool, where: str) -> None:
  """Raises UserError for an infinite number, and for a cell that is none where numbers are wanted."""
  number = _DECIMAL_COMMA if comma else _NUMBER
  others = [cell for cell in given if not number.fullmatch(cell)]
  infinite = [cell for cell in others if _INFINITE.fullmatch(cell)]
  if infinite and (kind == NUMBERS or (len(infinite) == len(others) < len(given))):
    raise UserError(f"{where}: column {name!r} holds {infinite[0]}, no finite number: leave the cell empty")
  if others and kind == NUMBERS:
    word = others[0][:40]
    raise UserError(f"{where}: column {name!r} shall hold numbers (data.label_kinds) but holds {word!r}")


def _guess(name: str, given: Sequence[str], numeric: bool) -> tuple[str, bool]:
  """The kind of a column, and whether it is a guess."""
  spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
  tokens = set(re.split(r"[^a-z0-9]+", spaced.lower()))
  identity = IDENTITY if tokens & _IDENTITIES else CLASSES
  if not numeric:
    return identity, False
  if not all(_WHOLE.fullmatch(cell) for cell in given):
    return NUMBERS, False
  digits = max(len(cell.split(".")[0].lstrip("+-")) for cell in given)
  if any(_PADDED.match(cell) for cell in given) or digits >= _LONG:
    return (IDENTITY if len(set(given)) > _FEW else identity), False
  different = {int(cell.split(".")[0]) for cell in given}
  if identity == IDENTITY or different <= {-1, 0, 1} or tokens & _NAMES:
    return identity, False
  if min(different) < 0 or tokens & _MEASURES:
    return NUMBERS, True
  return CLASSES, len(different) > _FEW or max(different) > len(different)


def read_kinds(text: str) -> dict[str, str]:
  """Reads `data.label_kinds`: `age:numbers,zip:classes` -> {"age": "numbers", "zip": "classes"}.

  Raises UserError.
  """
  kinds = {}
  for entry in filter(None, (entry.strip() for entry in text.split(","))):
    name, _, kind = entry.rpartition(":")
    if kind not in KINDS or not name:
      raise UserError(f"data.label_kinds: {entry!r} is not COLUMN:KIND with a kind of {', '.join(KINDS)}")
    kinds[name] = kind
  return kinds


def arrays(labels: Labels, rows: Sequence[int]) -> dict[str, np.ndarray]:
  """What batches hold of some pictures: `label/NAME` and `missing/NAME`.

  The latter is there only where any picture of the set lacks the label.
  """
  rows = np.asarray(rows, int)
  batch = {}
  for name, entry in labels.columns.items():
    batch[f"label/{name}"] = entry.values[rows]
    if entry.missing.any():
      batch[f"missing/{name}"] = entry.missing[rows]
  return batch


def plain(entry: Column) -> list[str | float | None]:
  """The values of a column as they are meant: names of classes or numbers, None where one is missing."""
  values = [entry.classes[value] if entry.classes else float(value) for value in entry.values]
  return [None if gone else value for value, gone in zip(values, entry.missing, strict=True)]


def take(labels: Labels, rows: Sequence[int]) -> Labels:
  """The labels of some of the pictures."""
  rows = np.asarray(rows, int)
  columns = {
      name: entry._replace(values=entry.values[rows], missing=entry.missing[rows])
      for name, entry in labels.columns.items()
  }
  parts = tuple(labels.parts[row] for row in rows) if labels.parts else None
  return labels._replace(columns=columns, parts=parts)


def part_of(word: str) -> str:
  """train, validation or test where a word means one of them, such as PublicTest; else ""."""
  return next((part for part, words in PARTS.items() if word.lower() in words), "")


def from_folders(names: Sequence[str]) -> Labels:
  """The column `class`, from the first folder that differs among the pictures.

  Folders called train and test are parts. There is no column where that gives fewer than two classes, or
  where a picture lies in no such folder (but for the parts that have no classes, as an unlabelled test part).

  Raises UserError where all folders are parts and none is train.
  """
  paths = [normal(name) for name in names]
  shared = shared_folders(paths)
  below = [path.split("/")[shared:-1] for path in paths]
  parts, notes = None, []
  if all(below):
    meanings = {word: _part_in(word) for word in sorted({folder[0] for folder in below})}
    if len(set(meanings.values())) > 1 and not {"", "train"} & set(meanings.values()):
      there = ", ".join(meanings)
      raise UserError(f"the folders of the images are {there}, and none is train: name one of them")
    if "train" in meanings.values() and len(set(meanings.values()) - {""}) > 1:
      parts = tuple(meanings[folder[0]] for folder in below)
      told = ", ".join(f"{word} is {part or 'left out'}" for word, part in meanings.items())
      notes.append(f"folders are the published split: {told}")
      below = _without_wrapping([folder[1:] for folder in below], parts)
  cells = [folder[0] if folder else None for folder in below]
  given = {cell for cell in cells if cell is not None}
  if len(given) < 2 or (parts is None and None in cells):
    stray = [name for name, cell in zip(names, cells, strict=True) if cell is None]
    if given and parts is None:
      title = f"{len(stray):,} images lie in none, such as {stray[0]}" if stray else f"{min(given)} alone"
      notes.append(f"folders give no classes: {title}")
    return Labels({}, tuple(notes), parts)
  index = {text: i for i, text in enumerate(sorted(given, key=_by_number))}
  missing = np.array([cell is None for cell in cells])
  values = np.array([index.get(cell, -1) for cell in cells], np.int32)
  entry = Column(values, missing, tuple(index), CLASSES)
  notes.append("folders give " + describe("class", entry))
  return Labels({"class": entry}, tuple(notes), parts)


def _part_in(word: str) -> str:
  """The part that a folder's name speaks of, as in seg_train; "" where it speaks of none, or of two."""
  meant = {part_of(token) for token in re.split(r"[^A-Za-z]+", word)} - {""}
  return meant.pop() if len(meant) == 1 else ""


def _without_wrapping(folders: list[list[str]], parts: Sequence[str]) -> list[list[str]]:
  """Takes off a folder that all pictures of a part share and that holds folders.

  An example is seg_train/seg_train/CLASS.
  """
  for part in set(parts):
    rows = [i for i, other in enumerate(parts) if other == part]
    while all(len(folders[i]) > 1 for i in rows) and len({folders[i][0] for i in rows}) == 1:
      for i in rows:
        folders[i] = folders[i][1:]
  return folders


def _by_number(text: str) -> tuple:
  return (0, int(text), text) if text.isascii() and text.isdigit() else (1, 0, text)


def describe(name: str, entry: Column) -> str:
  """One line about a column: its kind, its classes with counts or its range, and what is missing."""
  known = entry.values[~entry.missing]
  if entry.kind == NUMBERS:
    line = f"numbers from {known.min():g} to {known.max():g}"
  else:
    counts = np.bincount(known, minlength=len(entry.classes))
    pairs = list(zip(entry.classes, counts, strict=True))
    shown = ", ".join(f"{text[:30]} {count:,}" for text, count in pairs[:_SHOWN])
    title = "identities" if entry.kind == IDENTITY else "classes"
    line = f"{len(pairs):,} {title} ({shown}{', ...' if len(pairs) > _SHOWN else ''})"
  if entry.marks:
    told = ", ".join(f"{mark or 'empty'} {count:,}" for mark, count in entry.marks)
    line += f"; missing {sum(count for _, count in entry.marks):,} ({told})"
  return f"{name}: {line}" + (f"; {entry.note}" if entry.note else "")


def describe_all(columns: Mapping[str, Column]) -> tuple[str, ...]:
  """A line about each column, one for many alike, and one about what was guessed of whole numbers."""
  alike: dict[tuple, list[str]] = {}
  for name, entry in columns.items():
    if len(entry.classes) in (0, 2) and not entry.note and not entry.marks:
      alike.setdefault((entry.kind, entry.classes), []).append(name)
  lines = []
  for name, entry in columns.items():
    group = alike.get((entry.kind, entry.classes), [])
    if name not in group or len(group) <= _ALIKE:
      lines.append(describe(name, entry))
    elif name == group[0]:
      what = f"of the classes {' and '.join(entry.classes)}" if entry.classes else "of numbers"
      lines.append(f"{len(group)} columns {what}: {', '.join(group[:_ALIKE])}, ...")
  for kind, other in ((CLASSES, NUMBERS), (NUMBERS, CLASSES)):
    guessed = [name for name, entry in columns.items() if entry.guessed and entry.kind == kind]
    if guessed:
      change = ",".join(f"{name}:{other}" for name in guessed[:_ALIKE])
      shown = ", ".join(guessed[:_SHOWN]) + (", ..." if len(guessed) > _SHOWN else "")
      key = shlex.quote(f"--config.data.label_kinds={change}")
      lines.append(f"whole numbers, taken for {kind}: {shown}; {key} changes that")
  return tuple(lines)
