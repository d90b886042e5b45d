"""Winograd's 5x5 convolution against SciPy's correlation in float64, and where `convolve` uses it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal
from support.programs import compiled
from support.references import needs_torch, torch
from support.tolerances import sum_tolerance

from pdr_jax.networks import convolution, winograd


def operands(batch, height, width, inputs, outputs):
  generator = np.random.default_rng(0)
  x = generator.normal(size=(batch, height, width, inputs))
  kernel = generator.normal(size=(5, 5, inputs, outputs))
  return x.astype(np.float32), (kernel / np.sqrt(25 * inputs)).astype(np.float32)


def correlate(x, kernel):
  """Channel by channel."""
  x, kernel = x.astype(np.float64), kernel.astype(np.float64)
  def one(image, o):
    return sum(signal.correlate2d(image[..., i], kernel[..., i, o], "same") for i in range(kernel.shape[2]))
  return np.stack([np.stack([one(image, o) for o in range(kernel.shape[3])], axis=-1) for image in x])


def test_the_scheme_is_exact():
  """`out @ ((taps @ k) * (rows @ x))` is the correlation, for every pair of unit vectors."""
  for i in range(5):
    for j in range(8):
      k, x = np.eye(5)[i], np.eye(8)[j]
      found = winograd.OUT @ ((winograd.OF_TAPS @ k) * (winograd.OF_ROWS @ x))
      np.testing.assert_allclose(found, signal.correlate(x, k, "valid"), atol=1e-12)


# One piece, pieces of CHUNK images, and a batch that these do not divide.
@pytest.mark.parametrize("shape", [(1, 4, 1), (2, 12, 7), (8, 4, 5), (6, 8, 3)])
def test_values(shape):
  x, kernel = operands(*shape, 3, 2)
  # 75 products of normal numbers and weights of 75**-0.5; the scheme loses five times as much as a plain sum
  off = 5 * sum_tolerance(75, 75**-0.5)
  np.testing.assert_allclose(winograd.convolve(x, kernel), correlate(x, kernel), rtol=0, atol=off)


@pytest.mark.parametrize("shape", [(1, 4, 1), (2, 12, 7), (3, 8, 6)])
def test_kernel_gradient(shape):
  """Against the definition: each tap is the sum of shifted pictures times gradients."""
  generator = np.random.default_rng(0)
  x, gradient = (generator.normal(size=(*shape, channels)).astype(np.float32) for channels in (3, 2))
  padded = np.pad(x.astype(np.float64), ((0, 0), (2, 2), (2, 2), (0, 0)))
  def tap(i, j):
    return np.einsum(
      "bhwi,bhwo->io", padded[:, i : i + shape[1], j : j + shape[2]], gradient.astype(np.float64)
    )

  expected = np.array([[tap(i, j) for j in range(5)] for i in range(5)])
  np.testing.assert_allclose(
    compiled(winograd.kernel_gradient)(x, gradient),
    expected,
    rtol=0,
    atol=5 * sum_tolerance(int(np.prod(shape))),
  )


def test_convolve_takes_it_on_the_cpu_alone():
  channels = winograd.LEAST_CHANNELS
  x, kernel = operands(2, 8, 6, channels, channels)
  convolve = jax.jit(lambda x, kernel: convolution.convolve(x, kernel, 2))
  def count(platform):
    return (
      jax.export.export(convolve, platforms=[platform])(x, kernel)
      .mlir_module()
      .count("stablehlo.convolution")
    )

  assert count("cpu") == len(winograd.OF_ROWS) and count("cuda") == 1
  assert (
    winograd.suits(x, kernel, 5, 2)
    and not winograd.suits(x[:, :6], kernel, 5, 2)
    and not winograd.suits(x, kernel, 5, 1)
  )
  assert not winograd.suits(x, kernel[1:4, 1:4], 3, 1) and not winograd.suits(x, kernel[..., :1], 5, 2)
  assert not winograd.suits(jnp.asarray(x, jnp.bfloat16), jnp.asarray(kernel, jnp.bfloat16), 5, 2)


@needs_torch
@pytest.mark.parametrize("batch", [2, 8])
def test_values_and_gradients_of_convolve_are_those_of_pytorch(batch):
  channels = winograd.LEAST_CHANNELS
  x, kernel = operands(batch, 8, 7, channels, channels + 1)
  found, back = jax.vjp(jax.jit(lambda x, kernel: convolution.convolve(x, kernel, 2)), x, kernel)
  cotangent = np.random.default_rng(1).normal(size=found.shape).astype(np.float32)
  def as_torch(array, *axes):
    return torch.tensor(array.transpose(axes).copy(), dtype=torch.float64, requires_grad=True)
  tx, tk = as_torch(x, 0, 3, 1, 2), as_torch(kernel, 3, 2, 0, 1)
  out = torch.nn.functional.conv2d(tx, tk, padding=2)
  of_x, of_kernel = torch.autograd.grad(out, (tx, tk), as_torch(cotangent, 0, 3, 1, 2))
  expected = [out.permute(0, 2, 3, 1), of_x.permute(0, 2, 3, 1), of_kernel.permute(2, 3, 1, 0)]
  size = (25 * channels) ** -0.5  # of a weight
  sums = (25 * channels, size), (25 * (channels + 1), size), (batch * 8 * 7, 1.0)
  for array, reference, (terms, size) in zip((found, *back(cotangent)), expected, sums, strict=True):
    off = 5 * sum_tolerance(terms, size)
    np.testing.assert_allclose(array, reference.detach().numpy(), rtol=0, atol=off)
