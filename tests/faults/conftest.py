"""Makes `runs` and `toy_run` importable, and launch/ as well; no process outlives its test."""

import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "training"), os.path.join(os.path.dirname(os.path.dirname(HERE)), "launch")]


@pytest.fixture(autouse=True)
def no_process_is_left():
  yield
  import runs

  for child in runs.STARTED:
    child.kill()
    child.wait()
  runs.STARTED.clear()
