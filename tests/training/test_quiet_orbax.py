"""What is said through absl's logger: Orbax's reports are left out, its errors and all else are not."""

import logging
import os

import orbax.checkpoint
from absl import logging as absl_logging

from pdr_jax.training import quiet_orbax


def test_only_orbax_is_quiet(caplog):
  quiet_orbax.quiet()
  inside = os.path.join(os.path.dirname(orbax.checkpoint.__file__), "manager.py")
  logger = logging.getLogger("absl")
  for level, path, text in (
      (logging.WARNING, inside, "orbax saved"),
      (logging.ERROR, inside, "orbax failed"),
      (logging.WARNING, __file__, "the data has changed"),
  ):
    logger.handle(logging.LogRecord("absl", level, path, 1, text, (), None))
  absl_logging.warning("%s: corrupt", "a.png")  # as the data's own modules say it
  assert caplog.messages == ["orbax failed", "the data has changed", "a.png: corrupt"]
