"""Encoders of the baselines as exports: read back, they say what the method says, for any batch."""

import jax
import numpy as np
import pytest
from support.baseline_checks import compiled, examples, images, tiny
from support.tolerances import rounding

import pdr_jax
from pdr_jax import methods
from pdr_jax.exports import writer


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vicreg", "mae", "supervised"])
def test_an_export_encodes_as_the_method(name, tmp_path):
  config = tiny(name)
  method = methods.create(config)
  state = compiled(method.init)(jax.random.key(0), examples())
  variables = jax.device_get(methods.inference_variables(state))
  writer.write(str(tmp_path / name), config, variables, {"step": 1})
  model = pdr_jax.load(str(tmp_path / name))
  for count in (3, 5):
    expected = compiled(method.encode)(variables, images(count=count))
    found = model.encode(images(count=count))
    assert found.keys() == expected.keys() == {"backbone"}
    # five layers of sums of up to 512 products of numbers of about one, in another program
    np.testing.assert_allclose(found["backbone"], expected["backbone"], rtol=0, atol=rounding(200))
