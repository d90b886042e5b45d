"""Methods of a few numbers whose features and maps are known, as representations that were trained."""

import jax
import jax.numpy as jnp
import numpy as np

from pdr_jax.elements import Element
from pdr_jax.evaluation.representations import Representation
from pdr_jax.methods import Method


def reads(side: int, channels: int = 3) -> dict[str, Element]:
  """Pictures in [-1, 1]."""
  return {"image": Element((side, side, channels), "float32", "image", (-1.0, 1.0))}


def representation(
  encode, variables, side: int, *, feature_maps=None, fresh=None, channels: int = 3
) -> Representation:
  """What is evaluated, of functions of `(variables, images)`."""
  method = Method(None, None, None, encode, feature_maps=feature_maps)
  return Representation(
    "trained", lambda images: encode(variables, images), reads(side, channels), method, variables, fresh, 7
  )


def colour_variables(random: np.random.Generator) -> dict:
  """Of `colour`: weights of zero, so that all pictures have the same features."""
  bias = random.uniform(0.1, 1, 4).astype(np.float32)
  return {
    "net": {"w": np.zeros((3, 4), np.float32), "b": bias},
    "model_state": {"seen": np.zeros(2, np.float32)},
  }


def colour(variables: dict, images: jax.Array) -> dict[str, jax.Array]:
  """The mean colour through a linear layer and a ReLU; what it has seen shifts it by nothing."""
  net = variables["net"]
  features = images.mean(axis=(1, 2)) @ net["w"] + net["b"][None] + variables["model_state"]["seen"].sum()
  return {"z": jnp.maximum(features, 0.0)}


def map_variables(rng: jax.Array, channels: int = 3) -> dict:
  """Of `maps`: two encoders of one 1 x 1 convolution each."""
  keys = jax.random.split(rng, 2)
  draw = {name: jax.random.normal(key, (channels, 6)) / 2 for name, key in zip(("a", "b"), keys, strict=True)}
  return {**draw, "model_state": {"seen": jnp.zeros(2)}}


def maps(variables: dict, images: jax.Array) -> dict[str, list[jax.Array]]:
  """Of every encoder maps at a half and a quarter of the side, and their mean; all of six channels."""
  levels = {}
  for name in ("a", "b"):
    pixels = jnp.tanh(images @ variables[name] + variables["model_state"]["seen"].sum())
    half = _halved(pixels)
    quarter = _halved(half)
    levels[name] = [half, quarter, quarter.mean(axis=(1, 2))]
  return levels


def _halved(maps: jax.Array) -> jax.Array:
  batch, height, width, channels = maps.shape
  return maps.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
