"""The arithmetic of the networks by hand: products and bytes of every convolution.

They follow from its shapes and its definition alone. Counted is the operator, not the program: a product is
counted wherever the definition has one, also with the zeros of the padding. Nearest-neighbour upsampling and
a 3x3 convolution count the 16 products per input pixel that suffice, not the 36 of the definition.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from pdr_jax.networks import features, layers


class Convolution(NamedTuple):
  """One application of a convolution to a batch: multiply-adds; elements of input, output and kernel."""

  products: int
  inputs: int
  outputs: int
  kernel: int
  channels: int  # of the input: an input of 3 channels is a picture

  @classmethod
  def of(cls, kind: str, size: int, inputs: tuple[int, ...], outputs: int) -> "Convolution":
    """`kind` and `size` as in `pdr_jax.networks.layers.Conv`, the input's shape `[B, H, W, I]` or `[B,
    I]`, and the output's channels.
    """
    batch, *spatial, channels = inputs
    pixels = int(np.prod(spatial))
    # positions at which the kernel has all its taps, per pixel of the input; pixels of the output per pixel
    # of the input
    places, scale = {
        "same": (pixels, 1), "down": (pixels // 4, 1 / 4), "up": (pixels, 4), "upsampled": (pixels, 4),
        "to_point": (1, 1 / pixels), "from_point": (1, size**2)}[kind]
    taps = 16 if kind == "upsampled" else size**2
    return cls(
      batch * places * taps * channels * outputs,
      batch * pixels * channels,
      round(batch * pixels * scale) * outputs,
      size**2 * channels * outputs,
      channels,
    )


class Work(NamedTuple):
  """Floating-point operations and bytes of device memory, the fewest that a part needs."""

  flops: float
  bytes: float


def convolutions(function: Callable, *args: Any) -> list[Convolution]:
  """Every application of a `Conv` while the function runs; nothing is computed. `args` may be shapes."""
  convolutions = []

  def intercept(run, inputs, keywords, context):
    module = context.module
    if isinstance(module, layers.Conv) and context.method_name == "__call__":
      convolutions.append(Convolution.of(module.kind, module.size, inputs[0].shape, module.features))
    return run(*inputs, **keywords)

  with nn.intercept_methods(intercept):
    # a new function: JAX would not trace one again that it has seen
    jax.eval_shape(lambda *inputs: function(*inputs), *args)
  return convolutions


def training(convolutions: list[Convolution], itemsize: int, *, picture_gradient: bool = False) -> Work:
  """Forward, the kernels' gradients and the inputs' gradients.

  A picture's gradient is there only where something needs it. Each of the three is as many products, and
  moves the input, the output and the kernel (or their gradients) once: everything between convolutions is
  taken to be fused into them, nothing to stay in a cache. Kernels are float32, activations `itemsize` bytes.
  """
  passes = [2 if conv.channels == 3 and not picture_gradient else 3 for conv in convolutions]
  return Work(sum(2.0 * n * conv.products for n, conv in zip(passes, convolutions, strict=True)),
              sum(float(n) * _moved(conv, itemsize) for n, conv in zip(passes, convolutions, strict=True)))


def fixed(convolutions: list[Convolution], itemsize: int, *, backward: bool) -> Work:
  """Forward, and where asked the gradient of the input, of convolutions whose kernels are not trained."""
  passes = 2 if backward else 1
  return Work(
    sum(2.0 * passes * conv.products for conv in convolutions),
    sum(float(passes) * _moved(conv, itemsize) for conv in convolutions),
  )


def perceptual(config: ConfigDict, batch: int) -> list[Convolution]:
  """The fixed features' convolutions on a batch of pictures."""
  side, convolutions = config.data.side, []
  if config.loss.perceptual_features == "vgg16":
    for index, inputs, outputs in features.VGG_LAYERS:
      side = side // 2 if index in features.POOL_BEFORE else side
      convolutions.append(Convolution.of("same", 3, (batch, side, side, inputs), outputs))
    return convolutions
  for kind, inputs, outputs in features.RANDOM_LAYERS:
    size = 4 if kind == "down" else 3
    convolutions.append(Convolution.of(kind, size, (batch, side, side, inputs), outputs))
    side = side // 2 if kind == "down" else side
  return convolutions


def _moved(conv: Convolution, itemsize: int) -> int:
  return itemsize * (conv.inputs + conv.outputs) + 4 * conv.kernel
