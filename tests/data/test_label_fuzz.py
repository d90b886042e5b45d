"""Label tables written by pandas are read as pandas reads them.

Separators, encodings, missing marks and types are random.
"""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from support.label_store import LabelStore

from pdr_jax.data import label_files, labels
from pdr_jax.errors import UserError

MARKS = sorted(labels.MISSING)
WORDS = ["sad", "très gai", "a, b", "x;y", 'he said "no"', "1|2", "müde", "-", "NAs", "0x1F", "two\nlines"]


def column(rng, count):
  """A column of one of the kinds that people have."""
  kind = rng.integers(9)
  if kind == 0:
    values = pd.Series(rng.integers(0, 5, count), dtype="Int64")
  elif kind == 1:
    values = pd.Series(rng.integers(-3, 90, count), dtype="Int64")
  elif kind == 2:
    values = pd.Series(10**16 + rng.integers(0, 4, count), dtype="Int64")
  elif kind == 3:
    values = pd.Series(rng.normal(size=count) * 10.0 ** rng.integers(-8, 9))
  elif kind == 4:
    values = pd.Series(rng.integers(0, 5, count).astype(float))  # 1.0
  elif kind == 5:
    values = pd.Series(rng.integers(0, 2, count).astype(bool)).astype("boolean")
  elif kind == 6:
    values = pd.Series(rng.choice([-1, 1], count), dtype="Int64")
  elif kind == 7:
    values = pd.Series([f"{value:05}" for value in rng.integers(0, 300, count)], dtype="object")
  else:
    values = pd.Series(rng.choice(WORDS, count), dtype="object")
  return values.mask(pd.Series(rng.random(count) < rng.choice([0.0, 0.3])))


def table(rng):
  """A frame, how it is written, and how pandas is told to read it."""
  count = int(rng.integers(2, 30))
  stems = rng.choice(["a", "é b", "c,d"], count)
  names = [f"{rng.choice(['in/', ''])}{stem}{i:03}.png" for i, stem in enumerate(stems)]
  titles = rng.permutation(["who", "age", "x y", "mood", "a;b", "größe"])[: rng.integers(1, 5)]
  frame = pd.DataFrame({"file": names} | {title: column(rng, count) for title in titles})
  write = {
    "sep": str(rng.choice([",", ";", "\t", "|"])),
    "index": bool(rng.random() < 0.2),
    "header": bool(rng.random() < 0.8),
    "na_rep": str(rng.choice(MARKS)),
    "quoting": int(rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
    "lineterminator": str(rng.choice(["\n", "\r\n"])),
    "encoding": str(rng.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])),
    "decimal": ".",
  }
  if write["sep"] != ",":
    write["decimal"] = str(rng.choice([".", ","]))
  buffer = io.BytesIO()
  frame.to_csv(buffer, **write)
  oracle = {
    "sep": write["sep"],
    "header": 0 if write["header"] else None,
    "encoding": write["encoding"],
    "na_values": ["?"],
    "index_col": 0 if write["index"] else None,
  }
  return names, buffer.getvalue(), write, oracle


def compare(entry, text, typed):
  """`text`: the written cells by pandas, NaN where missing; `typed`: as pandas types them."""
  missing = text.isna().to_numpy()
  np.testing.assert_array_equal(entry.missing, missing)
  written = text[~missing].tolist()
  values = entry.values[~missing]
  if entry.kind == labels.NUMBERS:
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, typed[~missing].to_numpy(dtype=np.float64))
    return
  named = [entry.classes[value] for value in values]
  whole = pd.api.types.is_numeric_dtype(typed) and not pd.api.types.is_bool_dtype(typed)
  padded = any(len(word) > 1 and word.startswith("0") and "." not in word for word in written)
  if whole and not padded:
    assert named == [str(int(word.removesuffix(".0").removesuffix(",0"))) for word in written]
    assert list(entry.classes) == sorted(entry.classes, key=int)
  else:
    assert named == [word.strip() for word in written]


@pytest.mark.parametrize("seed", range(8))
def test_tables_of_pandas_are_read_as_pandas_reads_them(seed):
  rng = np.random.default_rng(seed)
  refused = 0
  for _ in range(25):
    names, data, write, oracle = table(rng)
    text = pd.read_csv(io.BytesIO(data), dtype=str, **oracle)
    typed = pd.read_csv(io.BytesIO(data), decimal=write["decimal"], **oracle)
    try:
      parsed = label_files.read(LabelStore(names, {"labels.csv": data}), {})
    except UserError as error:
      assert str(error).startswith("faces/labels.csv")
      refused += 1
      continue
    columns = list(text.columns[1:])
    given = [name for name in columns if text[name].notna().any()]
    titles = given if write["header"] else list(parsed.columns)
    assert list(parsed.columns) == titles and len(titles) == len(given), (write, data)
    for name, title in zip(given, titles, strict=True):
      compare(parsed.columns[title], text[name], typed[name])
  assert refused == 0
