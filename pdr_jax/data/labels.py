"""Labels of image files: a labels.csv whose first column is the name, or one folder per class."""

import csv
import io
import posixpath
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pdr_jax.errors import UserError


class Labels(NamedTuple):
  """Columns [N] (int32, float32) by name, and for columns of words the class names, sorted, that the integers stand for."""
  columns: dict[str, np.ndarray]
  classes: dict[str, tuple[str, ...]]


def _key(name: str) -> str:
  """One spelling of a path: forward slashes, no leading ./, and one Unicode form (macOS stores decomposed accents)."""
  return unicodedata.normalize("NFC", posixpath.normpath(name.strip().replace("\\", "/")))


def _column(values: list[str | None]) -> tuple[np.ndarray, tuple[str, ...]]:
  """Parses one column; None or empty is missing: NaN among numbers, -1 among words.

  A column of nothing but -1 and 1 holds an attribute as CelebA writes it, absent or present, and becomes 0 and 1.
  """
  filled = [value for value in values if value]
  for kind, dtype in ((int, np.int32), (float, np.float32)):
    try:
      parsed = [kind(value) for value in filled]
      if kind is int and (len(filled) < len(values) or any(abs(value) >= 2**31 for value in parsed)):
        continue
      column = np.array([kind(value) if value else np.nan for value in values], dtype)
      if set(parsed) == {-1, 1}:
        column = np.where(np.isnan(column), column, column > 0).astype(dtype)
      return column, ()
    except ValueError:
      continue
  classes = tuple(sorted(set(filled)))
  index = {value: i for i, value in enumerate(classes)}
  return np.array([index.get(value, -1) for value in values], np.int32), classes


def read_csv(data: bytes, where: str, names: Sequence[str]) -> Labels:
  """Parses a labels.csv with a header and aligns its rows with `names` (paths inside the folder or zip).

  A column of integers becomes int32, of numbers float32, anything else classes. Images without a row get NaN (-1 for classes).
  Raises UserError: not a table, a row of another length, or not one name that is among the images.
  """
  try:
    rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")) if row]
  except (UnicodeDecodeError, csv.Error) as error:
    raise UserError(f"{where} is not a comma-separated table in UTF-8 ({error})") from error
  if not rows:
    raise UserError(f"{where} is empty: it needs a header and one row per image, the image's name first; or remove it")
  header = [name.strip() for name in rows[0]]
  if len(set(header)) < len(header):
    raise UserError(f"{where}: two columns have the same name in its header; rename one")
  table = {}
  for line, row in enumerate(rows[1:], 2):
    if len(row) != len(header):
      raise UserError(f"{where}, row {line}: {len(row)} cells, the header has {len(header)}")
    table[_key(row[0])] = [cell.strip() for cell in row[1:]]
  found = [table.get(_key(name)) for name in names]
  if not any(found) and len(header) > 1:
    raise UserError(f"{where} names none of the images: its first column must hold names such as {names[0]}; or remove it")
  columns, classes = {}, {}
  for i, name in enumerate(header[1:]):
    columns[name], words = _column([row[i] if row else None for row in found])
    if words:
      classes[name] = words
  return Labels(columns, classes)


def from_folders(names: Sequence[str]) -> Labels:
  """The first folder below the one that all images share, as the column `class`; no column where that gives fewer than two classes."""
  parts = [_key(name).split("/")[:-1] for name in names]
  shared = 0
  while all(len(part) > shared for part in parts) and len({part[shared] for part in parts}) == 1:
    shared += 1
  if not parts or not all(len(part) > shared for part in parts):
    return Labels({}, {})
  values, classes = _column([f"/{part[shared]}" for part in parts])  # the slash keeps folders named 0, 1 from being numbers
  return Labels({"class": values}, {"class": tuple(name[1:] for name in classes)})
