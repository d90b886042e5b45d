"""The text of a label table -> rows of cells.

It finds the encoding, the separator, the header, and which column names the pictures. What is decided by
looking (encoding, separator, no header) is said: `Table.notes`.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pdr_jax.errors import UserError

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "|", " ": "space"}
LONGEST_NAME = 120  # bytes of a column's name: files of results are called by it
_LOOKED_AT = 1000  # rows, spread over the table, by which the separator and the column of names are found
_UTF16_ZEROS = 0.3  # share of zero bytes at odd or even places that makes UTF-16 of bytes without a mark

_NAME_TITLES = frozenset((
    "image", "images", "image_id", "img", "file", "files", "filename", "file_name", "name", "path",
    "filepath", "file_path", "picture", "photo", "id",
))

Row = tuple[int, list[str]]  # its line in the file, its cells


class Table(NamedTuple):
  """A label table as text.

  Attributes:
    where: the file, for messages.
    names: what each row calls its picture.
    columns: the cells of every other column, stripped, by the column's name.
    lines: of each row, counted from one.
    separator: the character between cells.
    notes: what was decided by looking, for the user.
    headless: nobody has titled the columns.
  """

  where: str
  names: list[str]
  columns: dict[str, list[str]]
  lines: list[int]
  separator: str
  notes: list[str]
  headless: bool = False


def parse(data: bytes, where: str, is_known: Callable[[str], bool], title: str = "label") -> Table:
  """Reads a table of pictures and their labels.

  Args:
    data: the file.
    where: its name, for messages.
    is_known: does a cell name one of the pictures? The column with most of them holds the names.
    title: of the columns of a table without a header: `title`, or `title_1`, `title_2` ...

  Raises UserError: no text, no table, a row of another length, no column of labels, column names that cannot
    be used.
  """
  text, encoding = decode_text(data, where)
  notes = [] if encoding == "UTF-8" else [encoding]
  separator, rows = _split(text, where, is_known)
  if separator != ",":
    notes.append(f"separated by {SEPARATORS[separator]}")
  width = len(rows[-1][1])
  above = _lines_above(rows, is_known)
  if above:
    shown = ", ".join(_text(row)[:30] for row in above)
    notes.append(f"without the first lines, which are no table: {shown}")
    rows = rows[len(above) :]
  place = _name_column([cells for _, cells in rows], is_known)
  header = rows[0][1]
  if len(header) < width:  # no title above the names, as R and CelebA write it
    header = ["", *header]
  headless = len(rows[0][1]) == width and _is_data(rows, place, is_known)
  if headless:
    notes.append("no header")
    index = [""] if place and _counts_up([cells[0] for _, cells in rows]) else []
    count = width - 1 - len(index)
    titles = index + ([title] if count == 1 else [f"{title}_{i + 1}" for i in range(count)])
    header = titles[:place] + [""] + titles[place:]
  else:
    rows = rows[1:]
    if place:
      notes.append(f"names in column {header[place]!r}")
  columns = {}
  for i, name in enumerate(header):
    cells = [cells[i] for _, cells in rows]
    untitled = not name and (not any(cells) or _counts_up(cells))  # of an index, or after a last separator
    if i == place or untitled:
      continue
    name = name or f"column_{i + 1}"
    _check_name(name, columns, where)
    columns[name] = cells
  if not rows:
    raise UserError(f"{where} has a header and no row: it needs a row for each image, or remove it")
  if not columns:
    raise UserError(f"{where} has no column of labels: it needs the image's name and at least one more")
  names, lines = [cells[place] for _, cells in rows], [line for line, _ in rows]
  return Table(where, names, columns, lines, separator, notes, headless)


def decode_text(data: bytes, where: str) -> tuple[str, str]:
  """Text and the name of its encoding.

  It is UTF-8, UTF-16 with or without a mark, or else Latin-1 (Windows-1252).
  """
  if data.startswith((b"\xff\xfe", b"\xfe\xff")):
    encodings = {"UTF-16": "utf-16"}
  elif b"\0" in data:
    zeros = [part.count(0) / max(len(part), 1) for part in (data[::2], data[1::2])]
    likely = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    encodings = {"UTF-16": likely} if max(zeros) > _UTF16_ZEROS else {}
  else:
    encodings = {"UTF-8": "utf-8-sig", "Windows-1252": "cp1252", "Latin-1": "latin-1"}
    if not re.search(rb"[\x80-\x9f]", data):  # these two differ there alone
      del encodings["Windows-1252"]
  for name, encoding in encodings.items():
    try:
      return data.decode(encoding), name
    except UnicodeDecodeError:
      continue
  raise UserError(f"{where} is no text (it holds zero bytes): save the table as CSV in UTF-8")


def _split(text: str, where: str, is_known: Callable[[str], bool]) -> tuple[str, list[Row]]:
  """The separator by which all rows have as many cells as the header, and the rows. Raises UserError."""
  candidates, problems = {}, {}
  for separator in SEPARATORS:
    try:
      candidates[separator] = _rows(text, separator, is_known)
    except UserError as error:
      problems[separator] = error
  if not any(text.split()):
    advice = "it needs a header and a row for each image, its name first; or remove it"
    raise UserError(f"{where} is empty: {advice}")
  wide = {separator: rows for separator, rows in candidates.items() if len(rows[-1][1]) > 1}
  if wide:
    named = {separator: _matches(rows, is_known) for separator, rows in wide.items()}

    def fit(separator: str) -> tuple:
      return named[separator] > 0, separator != " ", named[separator], len(wide[separator][-1][1])

    best = max(wide, key=fit)
    return best, wide[best]
  if not problems:
    raise UserError(f"{where} has a single column: it needs a label as well, separated by , ; | or tabs")
  header = text.strip("\r\n").splitlines()[0]
  likely = max(problems, key=lambda text: (text in header, text != " ", header.count(text)))
  raise UserError(f"{where}, {problems[likely]}")


def _rows(text: str, separator: str, is_known: Callable[[str], bool]) -> list[Row]:
  """Rows of equal length; blank ones are dropped, and blank cells after the last column. Raises UserError."""
  reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
  rows = []
  try:
    for cells in reader:
      cells = [cell.strip() for cell in cells]
      if separator == " " and cells and not cells[-1]:  # a space at the end of a line
        cells.pop()
      if any(cells):
        rows.append((reader.line_num, cells))
  except csv.Error as error:
    reason = "a quote is opened and never closed" if "end of data" in str(error) else str(error)
    raise UserError(f"row {reader.line_num}: {reason}") from error
  if not rows:
    raise UserError("it is empty")
  above = _lines_above(rows, is_known)
  return [*above, *_even(rows[len(above) :], separator)]


def _lines_above(rows: Sequence[Row], is_known: Callable[[str], bool]) -> list[Row]:
  """The lines above the header: the number of rows (CelebA), `sep=;` (Excel), a title, comments.

  Such a line has one cell alone, or begins with #, and what follows it is neither a row of a picture nor, for
  a comment, of the same length. One that could as well be the header is none.
  """
  width, count = len(rows[-1][1]), 0
  while width > 1 and count < len(rows) - 1:
    cells, following = rows[count][1], rows[count + 1][1]
    alone = len([cell for cell in cells if cell]) == 1
    data_follow = any(is_known(cell) for cell in following)
    counts = alone and (cells[0].isdigit() or re.fullmatch("sep=.?", cells[0]))
    title = alone and not data_follow and not is_known(cells[0])
    comment = cells[0].startswith("#") and len(cells) != width and not is_known(cells[0])
    if not (counts or title or comment):
      break
    count += 1
  return list(rows[:count])


def _text(row: Row) -> str:
  return " ".join(filter(None, row[1]))


def _even(rows: list[Row], separator: str) -> list[Row]:
  width = len(rows[0][1])
  if separator in " \t" and len(rows) > 1 and all(len(cells) == width + 1 for _, cells in rows[1:]):
    return rows  # no title above the names, as R and CelebA write it
  even = []
  for line, cells in rows:
    if len(cells) > width and not any(cells[width:]):
      cells = cells[:width]
    if len(cells) != width:
      raise UserError(f"row {line}: {len(cells)} cells, the header has {width}")
    even.append((line, cells))
  return even


def _matches(rows: Sequence[Row], is_known: Callable[[str], bool]) -> int:
  cells = [cells for _, cells in rows]
  place = _name_column(cells, is_known)
  return sum(is_known(row[place]) for row in cells[:: max(1, len(cells) // _LOOKED_AT)] if len(row) > place)


def _name_column(rows: Sequence[Sequence[str]], is_known: Callable[[str], bool]) -> int:
  """The column whose cells are most surely names of pictures; the first of equals.

  Numbers of rows, people and classes look like the names 0.png, 1.png without their suffix. Such names count
  less than whole ones, and count only under a title such as image, or half as much in the first column.
  """
  width = len(rows[-1])
  full = [row for row in rows[:: max(1, len(rows) // _LOOKED_AT)] if len(row) == width]

  def names(i: int) -> int:
    known = {row[i] for row in full if is_known(row[i])}
    whole = {cell for cell in known if "." in cell or "/" in cell}
    titled = len(rows[0]) == width and rows[0][i].lower() in _NAME_TITLES
    bare = 2 if titled else 1 if i == 0 else 0
    return 4 * len(whole) + bare * len(known - whole)

  return max(range(width), key=lambda i: (names(i), -i))


def _is_data(rows: Sequence[Row], place: int, is_known: Callable[[str], bool]) -> bool:
  """Is the first row one of data, not a header?

  It then names a picture, and is as full of numbers as the next one.
  """
  first = rows[0][1]
  if not is_known(first[place]):
    return False
  if "." in first[place] or "/" in first[place]:
    return True
  second = rows[1][1] if len(rows) > 1 else first
  numbers = [[_is_number(cell) for cell in row] for row in (first, second)]
  return numbers[0] == numbers[1] and len(rows) > 1


def _is_number(cell: str) -> bool:
  try:
    float(cell.replace(",", "."))
  except ValueError:
    return False
  return True


def _counts_up(cells: Sequence[str]) -> bool:
  """0, 1, 2 ... or 1, 2, 3 ...: an index without a title."""
  return cells in ([str(i + start) for i in range(len(cells))] for start in (0, 1))


def _check_name(name: str, earlier: dict, where: str) -> None:
  if name in earlier:
    raise UserError(f"{where}: two columns have the same name {name[:40]!r} in its header; rename one")
  if len(name.encode()) > LONGEST_NAME:
    raise UserError(f"{where}: the column {name[:40]!r}... has a name of {len(name)} characters; shorten it")
  if "/" in name or name.startswith("_"):  # as parts of a factor are called (light/0), and what is ours
    raise UserError(f"{where}: the column name {name[:40]!r} has a / or begins with _; rename it")
  if not name.isprintable():
    raise UserError(f"{where}: the column name {name[:40]!r} cannot be printed; rename it")
