"""Random networks that are small, and their configuration."""

import jax
import jax.numpy as jnp
import numpy as np

from pdr_jax import methods
from pdr_jax.config import base, variant

SIDE, STEP = 32, 7


def small_config(**networks):
  config = variant(base(), "small")
  config.networks.update(dict(width_map=8, width_vector=8, zdim=12, zdim_confidence=8) | networks)
  return config


def random_params(config):
  """Parameters large enough that every factor differs between pictures."""
  example = {"image": jnp.zeros((1, SIDE, SIDE, 3))}
  params = jax.jit(lambda key: methods.create(config).init(key, example).params)(jax.random.key(3))
  return jax.tree.map(lambda leaf: np.asarray(leaf) * np.float32(1.7 if leaf.ndim > 1 else 1), params)
