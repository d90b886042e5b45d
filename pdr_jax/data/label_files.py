"""The label tables of a folder or zip: which files are read, their rows joined with the pictures, and a line
about each.

Read are files called labels.csv (or .tsv, .txt) and metadata.csv in any folder, names in them relative to
their own folder or to the top; beside a zip that holds none; and CelebA's lists as published.
"""

import os
import posixpath
from collections.abc import Sequence
from typing import NamedTuple

from pdr_jax.data import labels, matching, stores, tables
from pdr_jax.errors import UserError

NAMES = ("labels", "metadata")
PARTITION = "partition"  # the column of CelebA's list of parts
# CelebA as published, and as Kaggle has it -> title of the column where the list has no header
CELEBA = {"list_attr_celeba": "attribute", "identity_celeba": "identity", "list_eval_partition": PARTITION}
CELEBA_PARTS = ("train", "validation", "test")  # 0, 1, 2
_EXAMPLES = 3  # names of rows and pictures in a line


class _File(NamedTuple):
  """One table: its name for messages, the folder to which its names are relative, its bytes."""

  where: str
  folder: str
  data: bytes


class _Joined(NamedTuple):
  """The cells of all tables by column and picture (None: no row), and where each column comes from."""

  cells: dict[str, list[str | None]]
  sources: dict[str, str]
  notes: list[str]


def read(store: stores.Store, kinds: dict[str, str]) -> labels.Labels:
  """The labels of all pictures of a store: of its tables, or else of its folders.

  Args:
    store: a folder or zip.
    kinds: the kinds that the user wants, by column.

  Raises UserError: a table that cannot be read or names none of the pictures, rows that contradict each
  other, a wanted kind for a column that does not exist or that it is not.
  """
  files, unread = _find(store)
  if not files:
    found = labels.from_folders(store.names)
  else:
    joined = _join(files, store.names)
    columns, notes = {}, list(joined.notes)
    empty = []
    for name, cells in joined.cells.items():
      entry = labels.column(name, cells, kinds.get(name, ""), joined.sources[name])
      if entry is None:
        empty.append(name)
        continue
      columns[name] = entry
    notes += _lines(columns, joined.cells)
    if empty:
      notes.append(f"columns without a value are left out: {', '.join(empty)}")
    parts = None
    if _stem(joined.sources.get(PARTITION, "")) in CELEBA:
      columns, parts = _published_parts(columns)
    if parts:
      notes.append(f"{PARTITION} is the published split: 0 is train, 1 is validation, 2 is test")
    found = labels.Labels(columns, tuple(notes), parts)
  unknown = [name for name in kinds if name not in found.columns]
  if unknown:
    known = ", ".join(found.columns) or "there are no labels"
    raise UserError(f"data.label_kinds={unknown[0]}: no column of the labels has this name and values; there are: {known}")
  return found._replace(notes=(*found.notes, *unread))


def _find(store: stores.Store) -> tuple[list[_File], list[str]]:
  """The tables to read, and a line about those that are not."""
  chosen = [name for name in store.tables if _is_table(name)]
  files = [_File(f"{store.where}/{name}", posixpath.dirname(matching.normal(name)), stores.read(store, name)) for name in chosen]
  others = [name for name in store.tables if name not in chosen]
  if not files:
    for path in filter(_is_table, store.beside()):
      with open(path, "rb") as file:
        files.append(_File(path, "", file.read()))
  if not others:
    return files, []
  shown = ", ".join(stores.printable(name) for name in others[:_EXAMPLES]) + (", ..." if len(others) > _EXAMPLES else "")
  advice = "" if files else " (a table of labels is called labels.csv)"
  return files, [f"{len(others):,} tables and texts are not read: {shown}{advice}"]


def _is_table(name: str) -> bool:
  return name.lower().endswith(stores.TABLES) and _stem(name) in (*NAMES, *CELEBA)


def _stem(path: str) -> str:
  return os.path.splitext(os.path.basename(path).lower())[0]


def _join(files: Sequence[_File], names: Sequence[str]) -> _Joined:
  """Rows of all tables by picture. A picture with two rows must have the same in both, where both say
  something.
  """
  joined = _Joined({}, {}, [])
  is_known = matching.is_known(names)
  for file in files:
    table = tables.parse(file.data, file.where, is_known, CELEBA.get(_stem(file.where), "label"))
    match = matching.match(table.names, names, file.folder)
    if not match.ways:
      raise UserError(f"{file.where} names none of the images: its rows are called such as {table.names[0][:60]!r}, "
                      f"the images such as {stores.printable(names[0])!r}; mend the names or remove the table")
    lines: dict[str, dict[int, int]] = {name: {} for name in table.columns}
    for name, column in table.columns.items():
      cells = joined.cells.setdefault(name, [None] * len(names))
      joined.sources[name] = file.where
      for row, picture in enumerate(match.pictures):
        if picture < 0:
          continue
        earlier, new = cells[picture], column[row]
        if earlier is None or earlier in labels.MISSING:
          cells[picture] = new
          lines[name][picture] = table.lines[row]
        elif new not in labels.MISSING and new != earlier:
          first = lines[name].get(picture)
          rows = f"row {table.lines[row]}" if first is None else f"rows {first} and {table.lines[row]}"
          raise UserError(f"{file.where}, {rows}: {stores.printable(names[picture])} has {name} {earlier[:30]!r} and "
                          f"{new[:30]!r}; keep one row for each image")
    joined.notes.append(_about(table, match, names))
  return joined


def _about(table: tables.Table, match: matching.Match, names: Sequence[str]) -> str:
  """What was read of one table: how, how many rows, which rows have no picture and which pictures no row."""
  told = f"{table.where}{f' ({', '.join(table.notes)})' if table.notes else ''}: "
  ways = ", ".join(f"{count:,} {way}" for way, count in match.ways.items())
  matched = {picture for picture in match.pictures if picture >= 0}
  told += f"{len(table.names):,} rows for {len(matched):,} images" + (f" ({ways})" if list(match.ways) != ["by full path"] else "")
  without_picture = [table.names[row] for row, picture in enumerate(match.pictures) if picture < 0]
  without_row = [stores.printable(name) for i, name in enumerate(names) if i not in matched]
  for count, title in ((without_picture, "rows without an image"), (without_row, "images without a row")):
    if count:
      told += f"; {len(count):,} {title} ({', '.join(count[:_EXAMPLES])}{', ...' if len(count) > _EXAMPLES else ''})"
  if match.ambiguous:
    told += f"; {match.ambiguous:,} of these rows could mean several images"
  return told


def _lines(columns: dict[str, labels.Column], cells: dict[str, list[str | None]]) -> list[str]:
  """A line about each column; columns of the same classes and nothing else to say share one."""
  lines, alike = [], {}
  for name, entry in columns.items():
    if len(entry.classes) == 2 and not entry.note and not entry.missing.any():
      alike.setdefault(entry.classes, []).append(name)
  for name, entry in columns.items():
    group = alike.get(entry.classes, []) if name in alike.get(entry.classes, []) else []
    if len(group) <= _EXAMPLES:
      lines.append(labels.describe(name, entry, cells[name]))
    elif name == group[0]:
      shown = ", ".join(group[:_EXAMPLES])
      lines.append(f"{len(group)} columns of the classes {' and '.join(entry.classes)}: {shown}, ...")
  return lines


def _published_parts(columns: dict[str, labels.Column]) -> tuple[dict[str, labels.Column], tuple[str, ...] | None]:
  """CelebA's list of parts taken out of the columns, as the part of each picture."""
  entry = columns.get(PARTITION)
  if entry is None or not set(entry.classes) <= {"0", "1", "2"} or "0" not in entry.classes:
    return columns, None
  words = [CELEBA_PARTS[int(text)] for text in entry.classes]
  parts = tuple("" if gone else words[value] for value, gone in zip(entry.values, entry.missing, strict=True))
  return {name: column for name, column in columns.items() if name != PARTITION}, parts
