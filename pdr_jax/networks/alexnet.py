"""AlexNet's first two convolutions (Krizhevsky 2014, as in torchvision): features that compare pictures."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.networks.features import as_parameters, read_layers

SHAPES = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5)}  # of the weights, by their index in `features`
SIDE = 224  # of the pictures that it was trained on


def load(path: str | Path, key: str) -> list[dict[str, Float[np.ndarray, "..."]]]:
  """Parameters of `second_convolution` from torchvision's `.pth` or its `.safetensors`.

  `key` is that of the configuration, for messages. Raises `UserError`.
  """
  return as_parameters(read_layers(path, SHAPES, "AlexNet", key), SHAPES)


def second_convolution(
  params: list[dict[str, ArrayLike]], images: Float[ArrayLike, "B S S 3"]
) -> Float[Array, "B 27 27 192"]:
  """The second convolution, before its rectifier, of pictures that are enlarged to 224 pixels a side.

  As SSV's released code has it, pictures stay in [-1, 1], without ImageNet's mean and deviation.
  """
  batch, channels = images.shape[0], images.shape[3]
  x = jax.image.resize(images, (batch, SIDE, SIDE, channels), "linear", antialias=False)
  x = jax.nn.relu(_convolve(x, params[0], 4))
  x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
  return _convolve(x, params[1], 1)


def _convolve(x: ArrayLike, layer: dict[str, ArrayLike], stride: int) -> Array:
  y = lax.conv_general_dilated(
    x, jnp.asarray(layer["kernel"]), (stride, stride), ((2, 2), (2, 2)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  return y + jnp.asarray(layer["bias"])[None, None, None]
