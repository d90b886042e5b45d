"""The mean shape of PDR: what all images share is added to what the depth network draws for each."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from support.tolerances import rounding

from pdr_jax import methods
from pdr_jax.config import base
from pdr_jax.methods.pdr import scene as scenes
from pdr_jax.methods.pdr import system

S = 32


def configured(rate):
  config = base()
  config.data.side = S
  config.networks.update(width_map=4, width_vector=4, zdim=8, zdim_confidence=8)
  config.optim.update(mean_shape_rate=rate, learning_rate=1e-3)
  return config


class Flat:
  """A network that draws zeros."""

  def __init__(self, shape):
    self.shape = shape

  def apply(self, variables, images):
    return jnp.zeros((images.shape[0], *self.shape)), jnp.zeros((images.shape[0], 2))


NETS = {"depth": Flat((S, S, 1)), "albedo": Flat((S, S, 3)), "light": Flat((9,)), "view": Flat((6,))}


def test_it_is_added_to_each_images_map_before_the_bounds():
  config, images = configured(5.0), jnp.zeros((3, S, S, 3))
  shape = np.random.default_rng(0).normal(size=(S, S)).astype(np.float32)
  params = dict.fromkeys(NETS) | {system.MEAN_SHAPE: jnp.asarray(shape)}
  _, _, depth = system.explain(params, images, nets=NETS, config=config)
  raw = shape.astype(np.float64) + scenes.convex_start(S, config.scene.convex_start)
  expected = 1.0 + 0.1 * np.tanh(raw - raw.mean())
  # a dozen operations, the mean of 1,024 numbers, on numbers of about four; the span halves it ten times
  np.testing.assert_allclose(depth, np.broadcast_to(expected, (3, S, S)), rtol=0, atol=rounding(12, 1.1))


def test_there_is_one_where_it_has_a_rate_and_no_other_parameter_changes():
  shapes = []
  for rate in (0.0, 5.0):
    method = methods.create(configured(rate))
    state = jax.eval_shape(method.init, jax.random.key(0), {"image": jnp.zeros((2, S, S, 3))})
    shapes.append(jax.tree.map(lambda leaf: leaf.shape, state.params))
  without, beside = shapes
  assert beside.pop(system.MEAN_SHAPE) == (S, S)
  assert beside == without


def test_it_moves_at_its_own_rate():
  """Adam's first step is the learning rate, whatever the gradient."""
  config = configured(5.0)
  config.optim.update(weight_decay=0.0, clip_norm=0.0)
  tx = system.descent(config)
  params = {system.MEAN_SHAPE: jnp.zeros((2, 2)), "depth": jnp.zeros(3)}
  updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
  moved = optax.apply_updates(params, updates)
  # 1 - b2 = 0.001 is known to a thousandth of the precision of 1
  np.testing.assert_allclose(moved[system.MEAN_SHAPE], -5e-3, rtol=1000 * rounding(2))
  np.testing.assert_allclose(moved["depth"], -1e-3, rtol=1000 * rounding(2))
