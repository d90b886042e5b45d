"""The hand count of the networks' arithmetic, against XLA's count of plain convolutions and against loops."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from benchmarks import arithmetic, measure
from pdr_jax.networks.autoencoder import MapAutoencoder
from pdr_jax.networks.layers import Conv
from pdr_jax.networks.vector_encoder import VectorEncoder

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def plain(kind, size, features):
  """The operator's definition in plain XLA convolutions, on input that is padded beforehand: no product is
  left out at the borders.
  """
  def apply(x, kernel):
    stride = 2 if kind == "down" else 1
    return lax.conv_general_dilated(x, kernel, (stride, stride), "VALID", dimension_numbers=DIMENSIONS)

  return apply


@pytest.mark.parametrize(
  "kind, size, rows, padded",
  [("same", 3, 8, 10), ("same", 5, 8, 12), ("down", 4, 8, 10), ("to_point", 4, 4, 4)],
)
def test_products_are_those_of_a_plain_convolution(kind, size, rows, padded):
  """XLA counts a multiply-add as two operations."""
  counted = arithmetic.Convolution.of(kind, size, (2, rows, rows, 3), 5)
  shapes = (
    jax.ShapeDtypeStruct((2, padded, padded, 3), jnp.float32),
    jax.ShapeDtypeStruct((size, size, 3, 5), jnp.float32),
  )
  apply = plain(kind, size, 5)
  assert measure.counts(jax.jit(apply).lower(*shapes))["flops"] == 2 * counted.products
  assert counted.outputs == jax.eval_shape(apply, *shapes).size
  assert counted.kernel == shapes[1].size and counted.inputs == 2 * rows * rows * 3


@pytest.mark.parametrize("kind, size", [("up", 4), ("upsampled", 3), ("from_point", 4)])
def test_transposed_products_are_those_of_a_loop(kind, size):
  """A transposed convolution: every input pixel meets every tap.

  Upsampled: each of the four phases has 2 x 2 sums of taps.
  """
  rows = 1 if kind == "from_point" else 3
  counted = arithmetic.Convolution.of(kind, size, (2, 4) if kind == "from_point" else (2, rows, rows, 4), 5)
  taps = 4 * 2 * 2 if kind == "upsampled" else size * size
  assert counted.products == sum(1 for _ in range(2 * rows * rows) for _ in range(taps) for _ in range(4 * 5))
  side = size if kind == "from_point" else 2 * rows
  assert counted.outputs == 2 * side * side * 5


def test_every_layer_of_the_networks_is_found_once():
  images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
  for module, layers in ((MapAutoencoder(3, 8, 16, 32), 4 + 2 + 4 + 3), (VectorEncoder(6, 4, 32), 5)):
    params = jax.eval_shape(module.init, jax.random.key(0), images)
    apply = module.apply
    jax.eval_shape(apply, params, images)  # also where JAX has the function's trace already
    actual = arithmetic.convolutions(apply, params, images)
    kernels = [
      leaf.size
      for path, leaf in jax.tree_util.tree_leaves_with_path(params)
      if "kernel" in jax.tree_util.keystr(path)
    ]
    assert len(actual) == layers
    assert sorted(conv.kernel for conv in actual) == sorted(kernels)


def test_a_training_step_of_one_layer_agrees_with_xla():
  """Forward, both gradients: three products, two where the input is a picture that needs no gradient."""
  for channels in (8, 3):
    layer, x = Conv(16, "same", 1), jax.ShapeDtypeStruct((2, 16, 16, channels), jnp.float32)
    params = jax.eval_shape(layer.init, jax.random.key(0), x)
    wanted = (0, 1) if channels == 8 else 0
    step = jax.jit(jax.value_and_grad(lambda p, x, layer=layer: layer.apply(p, x).sum(), wanted))
    work = arithmetic.training(arithmetic.convolutions(layer.apply, params, x), 4)
    additions = 2 * 16 * 16 * 16 - 1  # of the sum
    assert measure.counts(step.lower(params, x))["flops"] == pytest.approx(work.flops + additions, rel=1e-3)
    conv, = arithmetic.convolutions(layer.apply, params, x)
    passes = 3 if channels == 8 else 2
    assert work.bytes == passes * 4 * (x.size + 2 * 16 * 16 * 16 + 16 * channels)
    assert work.flops == passes * 2 * conv.products


def test_bytes_of_activations_follow_their_type():
  conv = arithmetic.Convolution.of("same", 3, (2, 8, 8, 4), 6)
  half, whole = (arithmetic.training([conv], itemsize).bytes for itemsize in (2, 4))
  assert whole - half == 3 * 2 * 2 * 8 * 8 * (4 + 6)  # kernels stay float32
