"""Programs of these tests run a few times: XLA is told to spend little on optimising them."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def hardly_optimised():
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)
