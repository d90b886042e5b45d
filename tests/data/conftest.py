"""What the tests of embedded worlds share: one compiled renderer for each world."""

import functools

import pytest

SIDE = 32  # of all pictures that are rendered


@pytest.fixture(scope="session")
def renderer_of():
  """`renderer_of(module, world)`: the renderer of `builder.BATCH` scenes of a world at side 32.

  It is compiled once.
  """
  from pdr_jax.data.scenes import builder

  return functools.cache(lambda module, world: builder.renderer(module.shape_model(), SIDE, world.painter))
