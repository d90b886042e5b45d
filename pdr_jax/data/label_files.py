"""The label tables of a folder or zip.

It says which files are read, joins their rows with the pictures, and gives a line about each. Read are files
called labels.csv (or .tsv, .txt) and metadata.csv in any folder, names in them relative to their own folder
or to the top; beside a zip that holds none; and CelebA's lists as published.
"""

import os
import posixpath
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pdr_jax.data import decode, labels, matching, stores, tables
from pdr_jax.errors import UserError

NAMES = ("labels", "metadata")
PARTITION = "partition"  # the column of CelebA's list of parts
# CelebA as published, and as Kaggle has it -> title of the column where the list has no header
CELEBA = {"list_attr_celeba": "attribute", "identity_celeba": "identity", "list_eval_partition": PARTITION}
CELEBA_PARTS = {"0": "train", "1": "validation", "2": "test"}
_FILES = (*decode.SUFFIXES, *decode.UNREAD, ".npy", ".npz", ".mat", ".json", ".xml", ".obj", ".ply")
_EXAMPLES = 3  # names of rows and pictures in a line


class _File(NamedTuple):
  """One table: its name for messages, the folder to which its names are relative, its bytes."""

  where: str
  folder: str
  data: bytes


class _Joined(NamedTuple):
  """The cells of all tables by column and picture (None: no row), where each column comes from, remarks, and
  the columns of tables without a header.
  """

  cells: dict[str, list[str | None]]
  sources: dict[str, str]
  notes: list[str]
  untitled: set[str]


def read(store: stores.StoreWithTables, kinds: Mapping[str, str]) -> labels.Labels:
  """The labels of all pictures of a store: of its tables, or else of its folders.

  Args:
    store: a folder or zip.
    kinds: the kinds that the user wants, by column.

  Raises UserError: a table that cannot be read or names none of the pictures, rows that contradict each
  other, a wanted kind for a column that does not exist or that it is not.
  """
  files, unread = _find(store)
  folders = labels.from_folders(store.names)
  labelled = _of_tables(_join(files, store.names), kinds) if files else folders
  if files:
    labelled = _with_folders(labelled, folders)
  unknown = [name for name in kinds if name not in labelled.columns]
  if unknown:
    known = ", ".join(labelled.columns) or "there are no labels"
    reason = "no column of the labels has this name and values"
    raise UserError(f"data.label_kinds={unknown[0]}: {reason}; there are: {known}")
  return labelled._replace(notes=(*labelled.notes, *unread))


def _with_folders(labelled: labels.Labels, folders: labels.Labels) -> labels.Labels:
  """Labels of tables for pictures in folders: folders called train and test are parts all the same."""
  notes = labelled.notes
  parts = labelled.parts
  if folders.parts and not parts:
    parts, notes = folders.parts, (*notes, folders.notes[0])
  if folders.columns:
    names = folders.columns["class"].classes
    notes = (*notes, f"the folders ({_some(names)}) are not taken for classes, because there is a table")
  return labelled._replace(notes=notes, parts=parts)


def _of_tables(joined: _Joined, kinds: Mapping[str, str]) -> labels.Labels:
  files = [name for name, cells in joined.cells.items() if name not in kinds and _names_files(cells)]
  typed = {
      name: labels.column(name, cells, kinds.get(name, ""), joined.sources[name], name not in joined.untitled)
      for name, cells in joined.cells.items() if name not in files
  }
  columns = {name: entry for name, entry in typed.items() if entry}
  notes = [*joined.notes, *labels.describe_all(columns)]
  empty = [name for name in typed if name not in columns]
  if files:
    titles = ", ".join(files)
    notes.append(f"columns of file names are left out: {titles} (pictures that they name are read like all)")
  if empty:
    notes.append(f"columns without a value are left out: {', '.join(empty)}")
  parts = None
  if PARTITION in columns and _stem(joined.sources[PARTITION]) in CELEBA:
    parts = _published_parts(columns.pop(PARTITION))
    notes.append(f"{PARTITION} is the published split: 0 is train, 1 is validation, 2 is test")
  return labels.Labels(columns, tuple(notes), parts)


def _names_files(cells: Sequence[str | None]) -> bool:
  """Does a column name other files, such as masks: each another picture or array?"""
  given = [cell for cell in cells if cell is not None and cell not in labels.MISSING]
  different = len(given) > 1 and len(set(given)) == len(given)
  return different and all(cell.lower().endswith(_FILES) for cell in given)


def _published_parts(entry: labels.Column) -> tuple[str, ...]:
  """CelebA's list of parts as the part of each picture. Raises UserError."""
  other = [text for text in entry.classes if text not in CELEBA_PARTS]
  if other:
    raise UserError(f"list_eval_partition holds {other[0]!r}, and only 0, 1 and 2 are parts")
  words = [CELEBA_PARTS[text] for text in entry.classes]
  return tuple("" if gone else words[value] for value, gone in zip(entry.values, entry.missing, strict=True))


def _find(store: stores.StoreWithTables) -> tuple[list[_File], list[str]]:
  """The tables to read, and a line about those that are not."""
  chosen = [name for name in store.tables if _is_table(name)]
  files = []
  for name in chosen:
    try:
      data = stores.read(store, name)
    except decode.BadImage as error:
      raise UserError(f"{store.where}/{stores.printable(name)} {error}") from error
    files.append(_File(f"{store.where}/{name}", posixpath.dirname(matching.normal(name)), data))
  beside = [] if files else store.beside()
  if isinstance(store, stores.Zip):
    for path in filter(_is_table, beside):
      with open(path, "rb") as file:
        files.append(_File(path, "", file.read()))
  notes = []
  others = [stores.printable(name) for name in store.tables if name not in chosen]
  if others:
    advice = "" if files else " (a table of labels is a text called labels.csv)"
    notes.append(f"{len(others):,} tables and texts are not read: {_some(others)}{advice}")
  if not files:
    told = [path for path in beside if _is_table(path) or _stem(path) == _stem(store.where.rstrip("/"))]
    if told:
      notes.append(f"beside {store.where} and not read: {_some(told)} (put it inside, called labels.csv)")
  return files, notes


def _some(names: Sequence[str]) -> str:
  """The first few."""
  return ", ".join(names[:_EXAMPLES]) + (", ..." if len(names) > _EXAMPLES else "")


def _is_table(name: str) -> bool:
  return name.lower().endswith(stores.TABLES) and _stem(name) in (*NAMES, *CELEBA)


def _stem(path: str) -> str:
  return os.path.splitext(os.path.basename(path).lower())[0]


def _join(files: Sequence[_File], names: Sequence[str]) -> _Joined:
  """Rows of all tables by picture.

  A picture with two rows must have the same in both, where both say something.
  """
  joined = _Joined({}, {}, [], set())
  is_known = matching.is_known(names)
  for file in files:
    table = tables.parse(file.data, file.where, is_known, CELEBA.get(_stem(file.where), "label"))
    match = matching.match(table.names, names, file.folder)
    if not match.ways:
      there, here = table.names[0][:60], stores.printable(names[0])
      called = f"its rows are called such as {there!r}, the images such as {here!r}"
      raise UserError(f"{file.where} names none of the images: {called}; mend the names or remove the table")
    if table.headless and _stem(file.where) not in CELEBA:
      joined.untitled.update(table.columns)
    for name, column in table.columns.items():
      joined.sources[name] = file.where
      cells = joined.cells.setdefault(name, [None] * len(names))
      _fill(cells, name, column, match.pictures, table, names)
    joined.notes.append(_about(table, match, names))
  return joined


def _fill(
    cells: list[str | None], name: str, column: Sequence[str], pictures: Sequence[int], table: tables.Table,
    names: Sequence[str],
) -> None:
  """Puts a column's cells to their pictures. Raises UserError where two rows contradict each other."""
  lines: dict[int, int] = {}
  for row, picture in enumerate(pictures):
    if picture < 0:
      continue
    earlier, new = cells[picture], column[row]
    if earlier is None or earlier in labels.MISSING:
      cells[picture] = new
      lines[picture] = table.lines[row]
    elif new not in labels.MISSING and new != earlier:
      first = lines.get(picture)
      rows = f"row {table.lines[row]}" if first is None else f"rows {first} and {table.lines[row]}"
      picture_name, values = stores.printable(names[picture]), f"{earlier[:30]!r} and {new[:30]!r}"
      advice = "keep one row for each image"
      raise UserError(f"{table.where}, {rows}: {picture_name} has {name} {values}; {advice}")


def _about(table: tables.Table, match: matching.Match, names: Sequence[str]) -> str:
  """What was read of one table: how, how many rows, which rows have no picture and which pictures no row."""
  how = f" ({', '.join(table.notes)})" if table.notes else ""
  matched = {picture for picture in match.pictures if picture >= 0}
  told = f"{table.where}{how}: {len(table.names):,} rows for {len(matched):,} images"
  if list(match.ways) != [matching.FULL]:
    told += " (" + ", ".join(f"{count:,} {way}" for way, count in match.ways.items()) + ")"
  without_picture = [table.names[row] for row, picture in enumerate(match.pictures) if picture < 0]
  without_row = [stores.printable(name) for i, name in enumerate(names) if i not in matched]
  for lonely, title in ((without_picture, "rows without an image"), (without_row, "images without a row")):
    if lonely:
      told += f"; {len(lonely):,} {title} ({_some(lonely)})"
  if match.ambiguous:
    told += f"; {match.ambiguous:,} of these rows could mean several images"
  return told
