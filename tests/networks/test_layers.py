"""The regrouped convolutions and the normalisation against the plain operators of JAX and PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads
from support.programs import compiled
from support.references import needs_torch, torch
from support.tolerances import difference_tolerance, eps, mean_tolerance, rounding, sum_tolerance

from pdr_jax.networks import layers

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
functional = torch and torch.nn.functional


def draw(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def to_torch(images):
  return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).requires_grad_()


def conv_weight(kernel):
  return torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()).requires_grad_()


def transposed_weight(kernel):
  return torch.from_numpy(kernel.transpose(2, 3, 0, 1).copy()).requires_grad_()


def from_images(tensor):
  return tensor.detach().numpy().transpose(0, 2, 3, 1)


def value_and_pullback(function, cotangent, *args):
  """The function's value and the pullback of the cotangent, from one program."""
  @compiled
  def run(cotangent, *args):
    value, pull = jax.vjp(function, *args)
    return value, *pull(cotangent)

  return run(cotangent, *args)


def compare_with_torch(ours, x, kernel, theirs, weight_of, kernel_axes):
  """Values and both vector-Jacobian products, with a random cotangent."""
  images, weight = to_torch(x), weight_of(kernel)
  expected = theirs(images, weight)
  cotangent = draw(*from_images(expected).shape, seed=7)
  expected.backward(torch.from_numpy(cotangent.transpose(0, 3, 1, 2).copy()))
  got, dx, dkernel = value_and_pullback(ours, cotangent, x, kernel)
  # sums of products of normal numbers, up to 4 x 4 where they are few: over taps and channels, and over
  # pixels
  size, _, inputs, outputs = kernel.shape
  for array, reference, terms in (
    (got, from_images(expected), size**2 * inputs),
    (dx, from_images(images.grad), size**2 * outputs),
    (dkernel, weight.grad.numpy().transpose(kernel_axes), cotangent.size // outputs),
  ):
    np.testing.assert_allclose(array, reference, rtol=0, atol=sum_tolerance(terms, 4))


@needs_torch
@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("outputs", [1, 3, 6])
@pytest.mark.parametrize("pixels", [(6, 9), (4, 4)])  # a convolution, and a product with patches
def test_conv_same(size, outputs, pixels):
  compare_with_torch(layers.conv_same, draw(2, *pixels, 5), draw(size, size, 5, outputs, seed=1),
                     functools.partial(functional.conv2d, padding=size // 2), conv_weight, (2, 3, 1, 0))


@needs_torch
@pytest.mark.parametrize("shape", [(2, 10, 8), (2, 8, 6), (1, 2, 2)])
def test_conv_down(shape):
  compare_with_torch(layers.conv_down, draw(*shape, 5), draw(4, 4, 5, 7, seed=1),
                     functools.partial(functional.conv2d, stride=2, padding=1), conv_weight, (2, 3, 1, 0))


@needs_torch
@pytest.mark.parametrize("shape", [(2, 4, 3), (1, 1, 1), (2, 5, 8)])
def test_conv_up(shape):
  x, kernel = draw(*shape, 5), draw(4, 4, 5, 7, seed=1)
  compare_with_torch(
    layers.conv_up,
    x,
    kernel,
    functools.partial(functional.conv_transpose2d, stride=2, padding=1),
    transposed_weight,
    (2, 3, 0, 1),
  )
  # lax.conv_transpose slides the kernel unflipped over the dilated input; its padding (2, 2) is PyTorch's
  # padding 1.
  expected = lax.conv_transpose(x, kernel[::-1, ::-1], (2, 2), ((2, 2), (2, 2)), dimension_numbers=DIMENSIONS)
  np.testing.assert_allclose(layers.conv_up(x, kernel), expected, rtol=0, atol=sum_tolerance(4 * 4 * 5))


@needs_torch
def test_conv_to_and_from_a_point():
  x, kernel = draw(3, 4, 4, 5), draw(4, 4, 5, 7, seed=1)
  expected = from_images(functional.conv2d(to_torch(x), conv_weight(kernel)))[:, 0, 0]
  np.testing.assert_allclose(layers.conv_to_point(x, kernel), expected, rtol=0, atol=sum_tolerance(80))
  z = draw(3, 5)
  expected = from_images(functional.conv_transpose2d(to_torch(z[:, None, None]), transposed_weight(kernel)))
  np.testing.assert_allclose(layers.conv_from_point(z, kernel), expected, rtol=0, atol=sum_tolerance(5, 4))


@needs_torch
@pytest.mark.parametrize("pixels", [(5, 4), (4, 3)])
def test_conv_upsampled(pixels):
  compare_with_torch(
    layers.conv_upsampled,
    draw(2, *pixels, 5),
    draw(3, 3, 5, 6, seed=1),
    lambda x, w: functional.conv2d(functional.interpolate(x, scale_factor=2, mode="nearest"), w, padding=1),
    conv_weight,
    (2, 3, 1, 0),
  )


@needs_torch
@pytest.mark.parametrize("offset", [0.0, 3.0, 30.0])
def test_group_norm(offset):
  """Also where the mean is far larger than the deviation.

  The variance is a difference of two large numbers there.
  """
  x, scale, bias = draw(2, 8, 6, 12) + np.float32(offset), draw(12, seed=1), draw(12, seed=2)
  images = to_torch(x)
  weight = torch.from_numpy(scale).requires_grad_()
  shift = torch.from_numpy(bias).requires_grad_()
  expected = functional.group_norm(images.double(), 3, weight.double(), shift.double(), eps=1e-5)
  cotangent = draw(*x.shape, seed=7)
  expected.backward(torch.from_numpy(cotangent.transpose(0, 3, 1, 2).copy()).double())
  got, dx, dscale, dbias = value_and_pullback(layers.group_norm, cotangent, x, scale, bias)
  # The variance, about one, is a difference of means of 192 squares; it scales values of up to four
  # deviations, times a scale of up to 2.5. The scale's gradient adds 96 of them up.
  off = 10 * mean_tolerance(192, offset**2 + 1)
  np.testing.assert_allclose(got, from_images(expected), rtol=0, atol=off)
  np.testing.assert_allclose(dx, from_images(images.grad), rtol=0, atol=off)
  np.testing.assert_allclose(dscale, weight.grad, rtol=0, atol=10 * off)
  np.testing.assert_allclose(dbias, shift.grad, rtol=0, atol=sum_tolerance(96))


def test_group_norm_of_a_constant_image_is_the_bias_with_finite_gradients():
  x, bias = jnp.full((1, 4, 4, 8), 0.7), jnp.arange(8.0)
  # what rounding leaves of 0.7 - 0.7, divided by the square root of epsilon
  off = rounding(8, 0.7 / np.sqrt(1e-5))
  np.testing.assert_allclose(layers.group_norm(x, jnp.ones(8), bias)[0, 1, 2], bias, rtol=0, atol=off)
  gradient = compiled(jax.grad(lambda x: jnp.square(layers.group_norm(x, jnp.ones(8), bias)).sum()))(x)
  assert np.isfinite(gradient).all()


def test_group_norm_statistics_are_float32_in_bfloat16():
  """4096 pixels summed in bfloat16 would stall at a few hundred.

  Only the rounding of input and output may show.
  """
  x = jnp.asarray(draw(1, 64, 64, 4) + np.float32(1), jnp.bfloat16)
  got = layers.group_norm(x, jnp.ones(4), jnp.zeros(4))
  expected = layers.group_norm(x.astype(jnp.float32), jnp.ones(4), jnp.zeros(4))
  assert got.dtype == jnp.bfloat16
  one = eps(jnp.bfloat16)
  np.testing.assert_allclose(got.astype(jnp.float32), expected, rtol=one, atol=one)


@needs_torch
@pytest.mark.parametrize(
  "kind, size, channels, features, theirs",
  [
    ("same", 5, 6, 9, lambda: torch.nn.Conv2d(6, 9, 5, bias=False)),
    ("down", 4, 6, 12, lambda: torch.nn.Conv2d(6, 12, 4, bias=False)),
    ("up", 4, 12, 6, lambda: torch.nn.ConvTranspose2d(12, 6, 4, bias=False)),
    ("from_point", 4, 24, 8, lambda: torch.nn.ConvTranspose2d(24, 8, 4, bias=False)),
  ],
)
def test_initial_weights_are_uniform_in_pytorchs_range(kind, size, channels, features, theirs):
  shape = (2, channels) if kind == "from_point" else (2, 4, 4, channels)
  conv = layers.Conv(features, kind, size)
  kernel = compiled(conv.init)(jax.random.key(0), jnp.zeros(shape))["params"]["kernel"]
  torch.manual_seed(0)
  theirs = theirs()
  assert kernel.dtype == jnp.float32
  # the largest of some hundred draws lies just under PyTorch's bound
  bound = float(theirs.weight.detach().abs().max())
  assert abs(float(jnp.abs(kernel).max()) / bound - 1) < 0.02
  # a uniform sample's deviation is off by sqrt(0.2 / n), 1.2 % of 1,350 numbers; two samples', 1.7 %
  np.testing.assert_allclose(kernel.std(), theirs.weight.detach().std(), rtol=0.07)
  np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.07)


def test_gradients_against_differences():
  x, kernel = draw(1, 4, 4, 4), draw(4, 4, 4, 4, seed=1)
  step = 2e-3  # weighted sums of up to a hundred; third derivatives by the normalisation alone
  off = difference_tolerance(step, 200, 200)
  options = dict(order=1, modes=["rev"], eps=step, atol=off, rtol=off)
  check_grads(jax.jit(layers.conv_up), (x, kernel), **options)
  check_grads(jax.jit(layers.conv_down), (x, kernel), **options)
  check_grads(jax.jit(layers.group_norm), (x, draw(4, seed=3), draw(4, seed=4)), **options)
