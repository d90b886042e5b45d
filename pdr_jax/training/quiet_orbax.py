"""Orbax reports and asks for more than a run needs; this keeps it quiet."""

import contextlib
import gc
import logging
import os
import sys
from collections.abc import Iterator


def quiet() -> None:
  """Keeps Orbax's reports through absl from the user, who gets our lines instead.

  It reports every save. Its errors stay, and so does what others say.
  """
  logging.getLogger("absl").addFilter(_is_not_orbax)
  # Orbax asks TensorStore twice in every save how much has been written, for a rate in its debug log, and
  # TensorStore 0.1.86 never frees what it answers (tests/faults/soak.py saw it). So it is not asked; on an
  # Orbax that works otherwise this does nothing.
  if tensorstore := sys.modules.get("orbax.checkpoint._src.serialization.tensorstore_utils"):
    tensorstore.get_tensorstore_raw_bytes = _nothing


def _is_not_orbax(record: logging.LogRecord) -> bool:
  """Is a record of absl's logger an error, or written outside of Orbax? Ours go through the same logger."""
  return record.levelno >= logging.ERROR or f"{os.sep}orbax{os.sep}" not in record.pathname


def _nothing(*_) -> int:
  return 0


@contextlib.contextmanager
def quiet_failure() -> Iterator[None]:
  """Orbax's reader leaves unfinished coroutines behind when it fails; Python would print each, pages long."""
  hook = sys.unraisablehook
  sys.unraisablehook = _nothing
  try:
    yield
  except Exception as error:
    error.__traceback__ = None
    error.__cause__ = error.__context__ = None
    gc.collect()
    raise
  finally:
    sys.unraisablehook = hook
