"""Multiples of the learning rate for single networks."""

import jax.numpy as jnp
import numpy as np
from support.tolerances import rounding

from pdr_jax.config import base
from pdr_jax.methods.shared import optimizer


def test_a_multiple_changes_one_network_only():
  config = base()
  params = {"view": {"w": jnp.array([1.0, -2.0])}, "depth": {"w": jnp.array([0.5])}}
  gradients = {"view": {"w": jnp.array([0.1, 0.2])}, "depth": {"w": jnp.array([-0.3])}}

  def step(multiples):
    tx = optimizer.create(config, multiples)
    return tx.update(gradients, tx.init(params), params)[0]

  plain, faster = step(None), step({"view": 3.0})
  # one product more, of steps that are not near zero
  np.testing.assert_allclose(faster["view"]["w"], 3 * plain["view"]["w"], rtol=rounding(2))
  np.testing.assert_array_equal(faster["depth"]["w"], plain["depth"]["w"])
