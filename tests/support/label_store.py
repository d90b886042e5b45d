"""A folder of pictures in memory: names alone, and the tables beside them; and what is read of these."""

import io

import numpy as np
import pytest

from pdr_jax.data import label_files, labels
from pdr_jax.errors import UserError


class LabelStore:
  """What `label_files.read` needs of a store; no picture is ever opened."""

  where, left_out = "faces", {}

  def __init__(self, names, tables):
    self.names, self.tables = list(names), list(tables)
    self._bytes = {name: data if isinstance(data, bytes) else data.encode() for name, data in tables.items()}

  def open(self, name):
    return io.BytesIO(self._bytes[name])

  def stamp(self, name):
    return ""


  def beside(self):
    return []


ABC = ["a.png", "b.png", "c.png"]


def read(table, names=ABC, kinds=None, name="labels.csv"):
  return label_files.read(LabelStore(names, {name: table}), kinds or {})


def values(parsed, name):
  """The column as Python values: class names or numbers, None where something is missing."""
  entry = parsed.columns[name]
  assert entry.values.dtype == (np.int32 if entry.classes else np.float64)
  return labels.plain(entry)


def told(parsed):
  return "\n".join(parsed.notes)


def refused(match, table, names=ABC, kinds=None, name="labels.csv"):
  with pytest.raises(UserError, match=match) as error:
    read(table, names, kinds, name)
  assert "\n" not in str(error.value)
