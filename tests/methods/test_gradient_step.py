"""The shared step on a problem with a closed form, alone and over four devices.

The problem has quadratic terms of two parameters.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.tolerances import rounding

from pdr_jax.config import base
from pdr_jax.methods import inference_variables
from pdr_jax.methods.shared import gradient_step

DATA = np.array([1.0, 2.0, 4.0, 9.0], np.float32)
WEIGHTS = {"fit": 2.0, "size": 0.5}


def terms_of(params, data):
  fit = jnp.square(params["a"] - data).mean()
  return {"fit": fit, "size": jnp.square(params["b"])}, {"spread": jax.lax.stop_gradient(data.mean())}


def step(state, data, axis_name, config):
  words = dict(count=data.shape[0], axis_name=axis_name, tx=optax.sgd(0.1), config=config)
  return gradient_step.update(state, partial(terms_of, data=data), WEIGHTS, **words)


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_update_is_the_hand_computed_step(devices, decay):
  config = base()
  config.optim.ema = decay
  state = gradient_step.init({"a": jnp.float32(0.5), "b": jnp.float32(3.0)}, optax.sgd(0.1), config)
  if devices == 1:
    state, metrics = jax.jit(lambda s, d: step(s, d, None, config))(state, DATA)
  else:
    run = jax.pmap(
      lambda s, d: step(s, d, "devices", config), axis_name="devices", in_axes=(None, 0), out_axes=None
    )
    state, metrics = run(state, DATA.reshape(4, 1))
  slope_a, slope_b = 2 * 2 * (0.5 - DATA.mean()), 0.5 * 2 * 3.0
  a, b = 0.5 - 0.1 * slope_a, 3.0 - 0.1 * slope_b
  # ten operations; parameters of up to 3, steps of up to 1.4
  near = rounding(10, 3)
  np.testing.assert_allclose([state.params["a"], state.params["b"]], [a, b], rtol=0, atol=near)
  assert int(state.step) == 1
  if decay:
    np.testing.assert_allclose(
      [state.ema["a"], state.ema["b"]], [0.9 * 0.5 + 0.1 * a, 0.9 * 3 + 0.1 * b], rtol=0, atol=near
    )
  for name, value in inference_variables(state).items():
    assert value is (state.ema if decay else state.params)[name]
  fit = np.square(0.5 - DATA).mean()
  means = {"loss": 2 * fit + 0.5 * 9, "fit": fit, "size": 9.0, "spread": DATA.mean()}
  assert set(metrics) == set(means) | {"gradient_norm"}
  for name, value in means.items():
    # differences, squares, a mean of four, a weighted sum and a product by the count: positive all of them
    np.testing.assert_allclose(metrics[name], [4 * value, 4], rtol=rounding(12), err_msg=name)
  norm = [np.hypot(slope_a, slope_b), 1]
  np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=rounding(12))


@pytest.mark.parametrize("devices", [1, 4])
def test_gradient_norms_are_those_of_the_weighted_terms(devices):
  params = {"a": jnp.float32(0.5), "b": jnp.float32(3.0)}

  def norms(data, axis):
    return gradient_step.gradient_norms(params, partial(terms_of, data=data), WEIGHTS, axis)

  if devices == 1:
    found = norms(jnp.asarray(DATA), None)
  else:
    found = jax.pmap(lambda data: norms(data, "devices"), axis_name="devices", out_axes=None)(
      DATA.reshape(4, 1)
    )
  assert set(found) == {"gradient_norm/fit", "gradient_norm/size"}
  # a dozen operations whose results are far from zero
  norm = [2 * 2 * abs(0.5 - DATA.mean()), 1]
  np.testing.assert_allclose(found["gradient_norm/fit"], norm, rtol=rounding(12))
  np.testing.assert_allclose(found["gradient_norm/size"], [3.0, 1], rtol=rounding(12))


def test_places_in_the_global_batch_and_totals_of_what_is_valid():
  score, valid = np.arange(8, dtype=np.float32), np.array([1, 1, 0, 1, 0, 0, 1, 1], np.float32)

  def body(score, valid):
    return gradient_step.global_index(2, "devices"), gradient_step.masked_totals(
      {"s": score}, valid, "devices"
    )

  index, totals = jax.pmap(body, axis_name="devices")(score.reshape(4, 2), valid.reshape(4, 2))
  np.testing.assert_array_equal(np.ravel(index), np.arange(8))
  np.testing.assert_array_equal(gradient_step.global_index(3, None), [0, 1, 2])
  # sums of small whole numbers are exact
  np.testing.assert_array_equal([totals["s"][0][0], totals["s"][1][0]], [0 + 1 + 3 + 6 + 7, 5])
  np.testing.assert_array_equal(
    gradient_step.masked_totals({"s": jnp.asarray(score)}, jnp.asarray(valid), None)["s"], [17, 5]
  )
