"""No silent promotion of one type of numbers to another: geometry and losses are float32 throughout."""

import jax
import pytest


@pytest.fixture(autouse=True)
def strict_promotion():
  with jax.numpy_dtype_promotion("strict"):
    yield
