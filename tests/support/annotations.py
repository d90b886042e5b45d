"""The check of annotations, switched off where a function's own check of its arguments is what is tested."""

import contextlib

import jaxtyping


@contextlib.contextmanager
def unchecked():
  """Within it, annotated shapes and types are not checked: as in users' programs."""
  jaxtyping.config.update("jaxtyping_disable", True)
  try:
    yield
  finally:
    jaxtyping.config.update("jaxtyping_disable", False)
