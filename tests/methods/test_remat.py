"""`train.remat`: the same gradients, with the activations computed again, in every network of a method."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.baseline_checks import examples, images, tiny
from support.tolerances import rounding

from pdr_jax import methods
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
