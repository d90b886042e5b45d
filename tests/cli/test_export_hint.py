"""What the export's last line says to do next can be done."""

import jax
import pytest

from pdr_jax import elements, methods
from pdr_jax.cli import export
from pdr_jax.config import base


@pytest.mark.parametrize("name, written", [("pdr", True), ("voxels", True), ("ssv", False), ("vae", False)])
def test_decompose_is_named_where_it_writes_the_method(name, written):
  config = base(name)
  method, reads = methods.create(config), methods.describe(name).reads(config)
  state = jax.eval_shape(method.init, jax.random.key(0), elements.zeros(reads, 1))
  assert export._is_written(method, methods.inference_variables(state), reads) is written
