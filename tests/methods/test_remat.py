"""`train.remat`: the same gradients, with the activations computed again, in every network of a method."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import toy_data
from support.baseline_checks import examples, images, tiny
from support.tolerances import rounding

from pdr_jax import methods
from pdr_jax.config import base
from pdr_jax.config_checks import validate
from pdr_jax.methods.shared import gradient_step

DEPTH, WIDTH, COUNT = 6, 16, 32


class Tower(nn.Module):
  """Layers whose activations the backward pass needs."""

  @nn.compact
  def __call__(self, x):
    for _ in range(DEPTH):
      x = jnp.sin(nn.Dense(WIDTH)(x))
    return x

  def narrow(self, x):
    return self(x)[:, :3]


def test_same_gradients_with_every_activation_computed_again():
  plain = {name: Tower() for name in "abcde"}
  assert gradient_step.recomputed(plain, tiny("vae")) is plain
  x = jnp.asarray(np.random.default_rng(0).normal(size=(COUNT, WIDTH)), jnp.float32)
  params = {name: net.init(jax.random.key(i), x) for i, (name, net) in enumerate(plain.items())}

  def gradient(nets):
    def loss(params):
      y = x
      for name in nets:
        y = nets[name].apply(params[name], y)
      return jnp.square(y).sum() + nets["a"].apply(params["a"], y, method="narrow").mean()

    return jax.jit(jax.grad(loss)).lower(params)

  kept, again = gradient(plain), gradient(gradient_step.recomputed(plain, tiny("vae", train__remat=True)))
  # In the program as XLA is handed it, one sine a layer of six applications of a tower, but for the last
  # output, which no gradient needs. Computed again: five towers forward, then all six but for their outputs,
  # each behind a barrier. (XLA:CPU drops barriers and merges the two: there is no memory to see.)
  sines = [program.as_text().count("stablehlo.sine") for program in (kept, again)]
  assert sines == [6 * DEPTH - 1, 5 * DEPTH + 6 * (DEPTH - 1)]
  assert [program.as_text().count("optimization_barrier") for program in (kept, again)] == [0, 6]

  def near(a, b):
    # up to five towers of six layers of sums of 16 products, forwards and back
    return np.testing.assert_allclose(a, b, rtol=0, atol=rounding(200, float(jnp.abs(a).max())))

  jax.tree.map(near, kept.compile()(params), again.compile()(params))


@pytest.mark.parametrize("name, parts", [
    ("pdr", 5 + 3),  # five networks; the perceptual features of the picture and of both halves
    ("vae", 3), ("vq_vae", 3), ("simclr", 2), ("vicreg", 2), ("mae", 2), ("supervised", 2)])
def test_every_network_is_recomputed_where_asked(name, parts):
  batch = examples() | {"_mask": np.ones(len(images()), np.float32)}
  counts = []
  for remat in (False, True):
    method = methods.create(tiny(name, train__remat=remat))
    state = jax.eval_shape(method.init, jax.random.key(0), batch)
    program = jax.make_jaxpr(lambda state, method=method: method.validate(state, batch, None))(state)
    # Its name changes with JAX.
    counts.append(sum("prevent_cse" in equation.params for equation in program.eqns))
  assert counts == [0, parts]


@pytest.mark.parametrize("name, parts", [
    ("voxels", 2),  # encoder and decoder; those of texture and judge are two linear layers
    # the judge of true and of made pictures; generator and judge in the game; the same of the features, where
    # true pictures have no gradient
    ("prgan", 2 + 2 + 2)])
def test_networks_with_batch_statistics_are_recomputed_where_asked(name, parts):
  """Each part that the backward pass computes again is behind a barrier."""
  counts = []
  for remat in (False, True):
    config = base(name)
    config.train.update(batch_size=4, remat=remat)
    config.data.side = 28
    sizes = ("width_encoder", "width_decoder", "width_generator", "width_judge")
    config[name].update({key: 4 for key in sizes if key in config[name]})
    validate(config, 1)
    method, batch = methods.create(config), toy_data.batch(methods.describe(name).reads(config), 4, 0)
    state = jax.eval_shape(method.init, jax.random.key(0), batch)
    program = jax.jit(partial(method.update, axis_name=None)).lower(state, batch, jax.random.key(0))
    counts.append(program.as_text().count("optimization_barrier"))
  assert counts == [0, parts]
