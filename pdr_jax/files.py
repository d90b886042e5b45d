"""Writing files so that nobody ever reads half of one.

They may lie on disks, and in buckets (`gs://BUCKET/FOLDER`) through epath.
"""

import io
import json
import os
import uuid
from collections.abc import Callable
from typing import Any

from etils import epath


def in_bucket(path: str) -> bool:
  """Is it `gs://...`? What lies there is whole or absent.

  Nothing is appended to, and a folder exists by what it holds.
  """
  return path.startswith("gs://")


def absolute(path: str) -> str:
  """The absolute path, `~` expanded; that of a bucket as it is."""
  return path if in_bucket(path) else os.path.abspath(os.path.expanduser(path))


def write_json(path: str, value: Any) -> None:
  """Writes indented JSON, so that nobody reads half a file."""
  write_atomically(path, lambda file: file.write((json.dumps(value, indent=1) + "\n").encode()))


def write_text(path: str, text: str) -> None:
  """Writes UTF-8 atomically. Names of files may hold bytes that are no text: these are written as \\udcXX."""
  write_atomically(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def write_atomically(path: str, write: Callable[[Any], Any]) -> None:
  """Calls `write(binary file)` on a temporary file beside `path`, then renames it; for a bucket on memory,
  which is then sent whole. An error of the disk names `path`.
  """
  if in_bucket(path):
    buffer = io.BytesIO()
    write(buffer)
    epath.Path(path).write_bytes(buffer.getvalue())
    return
  folder = os.path.dirname(path)
  os.makedirs(folder, exist_ok=True)
  temporary = os.path.join(folder, f".{uuid.uuid4().hex}.tmp")  # short: `path` may have no room for more
  try:
    with open(temporary, "wb") as file:
      write(file)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except OSError as error:
    if error.errno is None:  # a library's own words
      raise
    raise OSError(error.errno, error.strerror, path) from error
  finally:
    if os.path.exists(temporary):
      os.remove(temporary)
