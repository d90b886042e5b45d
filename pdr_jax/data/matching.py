"""Which picture does a row of a label table mean?

Names that are written another way count where they are unambiguous.
"""

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pdr_jax.data import decode

FULL = "by full path"  # the way that needs no word
_SUFFIXES = (*decode.SUFFIXES, *decode.UNREAD)


class Match(NamedTuple):
  """The picture of each row (-1: none), the numbers of rows matched in each way, and of ambiguous rows."""

  pictures: list[int]
  ways: dict[str, int]
  ambiguous: int


def normal(name: str) -> str:
  """One spelling of a path: forward slashes, no leading ./, and one Unicode form.

  macOS stores decomposed accents.
  """
  return unicodedata.normalize("NFC", posixpath.normpath(name.strip().replace("\\", "/")))


def is_known(pictures: Iterable[str]) -> Callable[[str], bool]:
  """A quick test of cells: is there a picture of this name, wherever it lies?

  The suffix may be missing, and case does not count.
  """
  stems = {_loose(posixpath.basename(normal(name))) for name in pictures}
  return lambda cell: bool(cell) and _loose(posixpath.basename(normal(cell))) in stems


def match(rows: Sequence[str], pictures: Sequence[str], folder: str = "") -> Match:
  """Finds the pictures that rows name.

  A row means a picture of exactly its path, from the folder of the table or from the top. Else of the
  pictures that no row names exactly: one whose path ends with the row's, or one with which the row's path
  ends (the part that all pictures share may be absent); all this also without suffix, then in another case.
  Only what is unambiguous counts.

  Args:
    rows: names as the table has them.
    pictures: paths of the pictures.
    folder: of the table, from the top; "" where it lies at the top or outside.
  """
  row_paths, picture_paths = [normal(row) for row in rows], [normal(name) for name in pictures]
  shared = shared_folders(picture_paths)
  result, ways, ambiguous = [-1] * len(rows), Counter(), set()
  free = list(range(len(pictures)))
  for spelling, spell in _SPELLINGS.items():
    open_rows = [i for i, picture in enumerate(result) if picture < 0]
    if not open_rows or not free:
      break
    rows_now = {i: spell(row_paths[i]) for i in open_rows}
    pictures_now = {j: spell(picture_paths[j]) for j in free}
    for way, find in _WAYS.items():
      index = find(pictures_now, shared)
      claims: dict[int, set[str]] = {}
      candidates: dict[int, int] = {}
      for i, path in rows_now.items():
        paths = _tails(path) if find is _in_front else (posixpath.join(folder, path), path)
        j = next((index[path] for path in paths if path in index), None)
        if j is None:
          continue
        if j < 0:
          ambiguous.add(i)
          continue
        candidates[i] = j
        claims.setdefault(j, set()).add(row_paths[i])
      for i, j in candidates.items():
        if len(claims[j]) > 1:  # differently written rows mean one picture
          ambiguous.add(i)
          continue
        result[i] = j
        ways[", ".join(filter(None, (way, spelling))) or FULL] += 1
        del rows_now[i]
        pictures_now.pop(j, None)
    free = list(pictures_now)
  return Match(result, dict(ways), len([i for i in ambiguous if result[i] < 0]))


def shared_folders(paths: Sequence[str]) -> int:
  """How many leading folders all paths have in common."""
  folders = [path.split("/")[:-1] for path in paths]
  shortest = min(map(len, folders), default=0)
  same = [len({folder[depth] for folder in folders}) == 1 for depth in range(shortest)]
  return next((depth for depth, equal in enumerate(same) if not equal), shortest)


def _stem(path: str) -> str:
  root, suffix = posixpath.splitext(path)
  return root if suffix.lower() in _SUFFIXES else path


def _loose(path: str) -> str:
  return _stem(path).casefold()


_SPELLINGS: dict[str, Callable[[str], str]] = {
    "": str,
    "without suffix": _stem,
    "in another case": str.casefold,
    "in another case without suffix": _loose,
}


def _whole(pictures: dict[int, str], shared: int) -> dict[str, int]:
  return _unique((path, j) for j, path in pictures.items())


def _ending(pictures: dict[int, str], shared: int) -> dict[str, int]:
  return _unique((tail, j) for j, path in pictures.items() for tail in _tails(path))


def _in_front(pictures: dict[int, str], shared: int) -> dict[str, int]:
  """Whole paths, and what is left of them without some of the folders that all share, one folder at least."""
  return _unique((tail, j) for j, path in pictures.items()
                 for k, tail in enumerate(_tails(path)) if k == 0 or (k <= shared and "/" in tail))


def _tails(path: str) -> list[str]:
  """a/b/c -> a/b/c, b/c, c."""
  parts = path.strip("/").split("/")
  return ["/".join(parts[i:]) for i in range(len(parts))]


def _unique(entries: Iterable[tuple[str, int]]) -> dict[str, int]:
  """The picture of each key; -1 where there are several."""
  index: dict[str, int] = {}
  for key, j in entries:
    index[key] = j if index.get(key, j) == j else -1
  return index


_WAYS = {"": _whole, "by the end of the path": _ending, "by the path after a folder": _in_front}
