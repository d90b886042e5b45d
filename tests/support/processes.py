"""No process outlives its test: imported by the `conftest.py` of folders whose tests start runs."""

import pytest

from support import runs


@pytest.fixture(autouse=True)
def no_process_is_left():
  yield
  for child in runs.STARTED:
    child.kill()
    child.wait()
  runs.STARTED.clear()
