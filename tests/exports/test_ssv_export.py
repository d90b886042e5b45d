"""SSV as an export: both networks' programs say what the method says."""

import jax
import numpy as np
import pytest

import pdr_jax
from pdr_jax import elements, methods
from pdr_jax.config import base
from pdr_jax.errors import UserError
from pdr_jax.exports import writer

SIDE = 16


@pytest.mark.slow
def test_programs_say_what_the_method_says(tmp_path):
  config = base("ssv")
  config.data.side = SIDE
  config.ssv.update(width_synthesis=8, width_viewpoint=8, volume_side=8, code=4, volume_rendering=True)
  method = methods.create(config)
  example = elements.zeros(methods.describe("ssv").reads(config), 1)
  state = jax.jit(method.init)(jax.random.key(0), example)
  variables = jax.device_get(methods.inference_variables(state))
  writer.write(str(tmp_path / "ssv"), config, variables, {"step": 7})
  model = pdr_jax.load(str(tmp_path / "ssv"))
  assert set(model.manifest["programs"]) == {"encode", "decompose", "turn", "generate"}
  images = np.random.default_rng(0).uniform(-1, 1, (3, SIDE, SIDE, 3)).astype(np.float32)
  ours, theirs = jax.jit(method.decompose)(variables, images), model.decompose(images)
  for name in ours:  # some twenty layers of sums of numbers of about one
    np.testing.assert_allclose(theirs[name], ours[name], rtol=0, atol=1e-4, err_msg=name)
  turned = model.turn(images, theirs["angles"])
  np.testing.assert_allclose(turned, theirs["reconstruction"], rtol=0, atol=1e-4)
  made = model.generate(2)
  assert made.shape == (2, SIDE, SIDE, 3) and np.isfinite(made).all()
  with pytest.raises(UserError, match=r"turn: angles must be \[3, 3\]"):
    model.turn(images, np.zeros((2, 3)))
