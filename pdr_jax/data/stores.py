"""Where pictures lie: a folder or a zip. Lists what is there, counts the rest, and opens files by name.

A store has `where` (its path), `names` (pictures, sorted, with forward slashes), `tables` (files that may
hold labels), `left_out` (how many files were left out, by suffix) and `open(name)`.
"""

import collections
import hashlib
import io
import os
import threading
import zipfile
from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

from pdr_jax.data import decode, own_files
from pdr_jax.errors import UserError

LARGEST_FILE = 512 * 2**20  # bytes of one file, unpacked
TABLES = (".csv", ".tsv", ".txt")
OTHER_TABLES = (".xlsx", ".xls", ".ods", ".json", ".jsonl", ".parquet", ".csv.gz")  # which are not read
OWN = "results of earlier commands"  # the key of what this program has written
_LISTED_SUFFIXES = 6  # of those left out, in one line


class Folder:
  """Pictures of a directory tree, by their path inside it. Nothing outside of the tree is named."""

  def __init__(self, root: str, normalized: bool = True):
    """`normalized`: see `_without_results`."""
    self.where, self._root = root, root
    files, unreadable = _walk(root)
    kind, top = own_files.kinds(), os.path.abspath(root)
    written = {name: kind(os.path.join(top, *name.split("/"))) for name in files}
    files, count = _without_results(written, normalized)
    self.names, self.tables, self.left_out, self.zips = _sorted_out(files)
    if count:
      self.left_out[OWN] = count
    if unreadable:
      self.left_out["folders that cannot be read"] = unreadable

  def open(self, name: str) -> io.BufferedIOBase:
    """The file of this name, for reading."""
    return open(os.path.join(self._root, name), "rb")

  def stamp(self, name: str) -> str:
    """See `stamp_of`."""
    return stamp_of(os.path.join(self._root, name))

  def beside(self) -> list[str]:
    """Paths of the tables in the folder that holds this one."""
    return _tables_beside(self._root)


class Zip:
  """Pictures of a zip, read in place: nothing is unpacked, so an entry's name can lead nowhere."""

  def __init__(self, path: str, normalized: bool = True):
    """`normalized`: see `_without_results`."""
    self.where = self._path = path
    self._zip, self._lock = None, threading.Lock()
    try:
      with zipfile.ZipFile(path) as file:
        files = {entry.filename for entry in file.infolist() if not entry.is_dir()}
        kind = own_files.kinds(file.read, files.__contains__)
        written = {name: kind(name) for name in sorted(files)}
        self._stamps = {entry.filename: f"{entry.file_size} {entry.CRC}" for entry in file.infolist()}
    except (zipfile.BadZipFile, OSError) as error:
      advice = "copy it again, or name a folder of images"
      raise UserError(f"{path} is not a readable zip ({error}): {advice}") from error
    names, count = _without_results(written, normalized)
    self.names, self.tables, self.left_out, self.zips = _sorted_out(names)
    if count:
      self.left_out[OWN] = count

  def __getstate__(self):  # for Grain's worker processes: each opens the file for itself
    return {**self.__dict__, "_zip": None, "_lock": None}

  def __setstate__(self, state):
    self.__dict__.update(state, _lock=threading.Lock())

  def open(self, name: str) -> io.BufferedIOBase:
    """The entry of this name, for reading. Raises BadImage for one that is too large, KeyError for none."""
    with self._lock:
      if self._zip is None:
        self._zip = zipfile.ZipFile(self._path)
    if self._zip.getinfo(name).file_size > LARGEST_FILE:
      raise decode.BadImage(f"larger than {LARGEST_FILE // 2**20} MiB")
    return self._zip.open(name)

  def stamp(self, name: str) -> str:
    """What changes with the content of an entry: its size and checksum."""
    return self._stamps[name]

  def beside(self) -> list[str]:
    """Paths of the tables in the folder that holds the zip."""
    return _tables_beside(self._path)


@runtime_checkable
class Store(Protocol):
  """Where pictures come from, whatever it is."""

  where: str
  names: list[str]

  def open(self, name: str) -> io.BufferedIOBase: ...

  def stamp(self, name: str) -> str:
    """What changes with the content of a picture."""


@runtime_checkable
class StoreWithTables(Store, Protocol):
  """A store that may hold tables of labels, or have them beside it."""

  tables: list[str]

  def beside(self) -> list[str]: ...


def open_store(path: str) -> Folder | Zip:
  """The pictures of a folder, a zip, or a folder that holds one zip and no picture. Raises UserError."""
  if not path:
    raise UserError("data.path is empty: name a folder or a .zip of images, --config.data.path=...")
  path = os.path.expanduser(path)
  if not os.path.exists(path):
    raise UserError(f"data.path={path} does not exist")
  if os.path.isfile(path):
    if path.lower().endswith((*decode.SUFFIXES, *TABLES)):
      raise UserError(f"data.path={path} is a single file: name the folder or the .zip that holds the images")
    store = Zip(path)
  else:
    try:
      store = Folder(path)
    except OSError as error:
      raise UserError(f"data.path={path} cannot be read ({error.strerror})") from error
    if not store.names and store.zips:
      if len(store.zips) > 1:
        first = os.path.join(path, store.zips[0])
        raise UserError(f"data.path={path} holds only {len(store.zips)} zips: name one, such as {first}")
      store = Zip(os.path.join(path, store.zips[0]))
  if not store.names:
    others = sum(store.left_out.values()) + len(store.tables)
    there, suffixes = f"{others} files{_in_brackets(store.left_out)}", " ".join(decode.SUFFIXES)
    raise UserError(f"data.path={path} holds no image among its {there}; images end in {suffixes}")
  return store


def read(store: Store, name: str) -> bytes:
  """All bytes of one file of a store. Raises BadImage where it cannot be read."""
  try:
    with store.open(name) as file:
      return file.read(LARGEST_FILE + 1)
  except decode.BadImage:
    raise
  except Exception as error:  # permissions, a damaged or encrypted zip entry, a file that is gone ...
    raise decode.BadImage(f"cannot be read ({error})") from error


def stamp_of(path: str) -> str:
  """What changes with the content of a file: its size and time."""
  try:
    about = os.stat(path)
  except OSError:  # it is gone, which reading it will tell
    return ""
  return f"{about.st_size} {about.st_mtime_ns}"


def fingerprint_of(paths: Iterable[str]) -> str:
  """Changes with any of these files, told by path, size and time: a `Dataset.fingerprint`."""
  said = repr([(path, stamp_of(path)) for path in paths])
  return hashlib.sha256(said.encode("utf-8", "surrogateescape")).hexdigest()


def printable(name: str) -> str:
  """File names may hold bytes that are no text."""
  return name.encode("utf-8", "backslashreplace").decode()


def describe_left_out(left_out: dict[str, int]) -> str:
  """`2 pictures of a format that is not read (.heic 2); 3 other files (.md 1, .xml 2)`; empty for nothing."""
  unread = {suffix: count for suffix, count in left_out.items() if suffix in decode.UNREAD}
  others = {key: count for key, count in left_out.items() if key not in decode.UNREAD and key != OWN}
  parts = [f"{left_out[OWN]:,} {OWN}"] if OWN in left_out else []
  for title, counts in (("pictures of a format that is not read", unread), ("other files", others)):
    if counts:
      parts.append(f"{sum(counts.values()):,} {title}{_in_brackets(counts)}")
  return "; ".join(parts)


def _in_brackets(counts: dict[str, int]) -> str:
  if not counts:
    return ""
  common = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
  shown = ", ".join(f"{suffix} {count:,}" for suffix, count in common[:_LISTED_SUFFIXES])
  return f" ({shown}{', ...' if len(common) > _LISTED_SUFFIXES else ''})"


def _tables_beside(path: str) -> list[str]:
  folder = os.path.dirname(os.path.abspath(path))
  try:
    names = [name for name in sorted(os.listdir(folder)) if name.lower().endswith(TABLES)]
  except OSError:  # a folder whose own folder may not be listed
    return []
  return [path for path in (os.path.join(folder, name) for name in names) if os.path.isfile(path)]


def _walk(root: str) -> tuple[list[str], int]:
  """Paths of all files below `root`, relative to it; and how many folders cannot be read."""
  paths, seen, errors = [], set(), []
  for folder, folders, files in os.walk(root, onerror=errors.append, followlinks=True):
    real = os.path.realpath(folder)
    folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
    if real in seen:  # a link back up
      continue
    seen.add(real)
    paths += [os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/") for name in files]
  return sorted(paths), len(errors)


def _sorted_out(files: Iterable[str]) -> tuple[list[str], list[str], dict[str, int], list[str]]:
  """Pictures, tables, counts of the rest by suffix, and zips. What systems add is not counted."""
  pictures, tables, zips, rest = [], [], [], collections.Counter()
  for name in files:
    lower = name.lower()
    if _is_hidden(name):
      continue
    if _is_picture(name):
      pictures.append(name)
    elif lower.endswith((*TABLES, *OTHER_TABLES)):
      tables.append(name)
    else:
      suffix = os.path.splitext(lower)[1]
      rest[suffix if 1 < len(suffix) <= 12 else "without suffix"] += 1
      if suffix == ".zip":
        zips.append(name)
  return pictures, tables, dict(rest), zips


def _without_results(written: Mapping[str, str], normalized: bool) -> tuple[list[str], int]:
  """The files to look at, of those with what this program has written there, and how many are left out.

  The pictures of `decompose --normalize_only` are data where `normalized` allows it and no others are there.
  """
  others = any(_is_picture(name) for name, kind in written.items() if not kind)
  taken = ("", own_files.NORMALIZED) if normalized and not others else ("",)
  files = [name for name, kind in written.items() if kind in taken]
  return files, len(written) - len(files)


def _is_picture(name: str) -> bool:
  return name.lower().endswith(decode.SUFFIXES) and not _is_hidden(name)


def _is_hidden(name: str) -> bool:
  """Names that start with a dot, and what macOS and Windows put into folders and zips."""
  parts = [part for part in name.split("/") if part not in (".", "..")]
  added = any(part.startswith((".", "__MACOSX")) for part in parts)
  return added or not parts or parts[-1].lower() in ("thumbs.db", "desktop.ini")
