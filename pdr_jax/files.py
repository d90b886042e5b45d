"""Writing files so that nobody ever reads half of one."""

import json
import os
from collections.abc import Callable
from typing import Any


def write_json(path: str, value: Any) -> None:
  """Writes indented JSON through a temporary name, so that nobody reads half a file."""
  write_atomically(path, lambda file: file.write((json.dumps(value, indent=1) + "\n").encode()))


def write_atomically(path: str, write: Callable[[Any], Any]) -> None:
  """Calls `write(binary file)` on a temporary file beside `path`, then renames it."""
  os.makedirs(os.path.dirname(path), exist_ok=True)
  temporary = f"{path}.{os.getpid()}.tmp"
  try:
    with open(temporary, "wb") as file:
      write(file)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    if os.path.exists(temporary):
      os.remove(temporary)
