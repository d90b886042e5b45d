"""The convolution's gradients against PyTorch in float64 and XLA's own.

Every way of laying out the shifts is tried.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from support.programs import compiled
from support.references import needs_torch, torch
from support.tolerances import eps, sum_tolerance

from pdr_jax.networks import convolution


def operands(batch, side, size, padding, inputs, outputs, seed=0):
  generator = np.random.default_rng(seed)
  out = side + 2 * padding - size + 1
  def draw(*shape):
    return generator.normal(size=shape).astype(np.float32)

  return (
    draw(batch, side, side + 1, inputs),
    draw(size, size, inputs, outputs),
    draw(batch, out, out + 1, outputs),
  )


def torch_gradients(x, kernel, cotangent, padding):
  def as_torch(array, *axes):
    return torch.tensor(array.transpose(axes).copy(), dtype=torch.float64, requires_grad=True)

  x, kernel, cotangent = (
    as_torch(x, 0, 3, 1, 2),
    as_torch(kernel, 3, 2, 0, 1),
    as_torch(cotangent, 0, 3, 1, 2),
  )
  out = torch.nn.functional.conv2d(x, kernel, padding=padding)
  of_x, of_kernel = torch.autograd.grad(out, (x, kernel), cotangent)
  return of_x.permute(0, 2, 3, 1).numpy(), of_kernel.permute(2, 3, 1, 0).numpy()


# The copies are smallest with all shifts on the input, split between the two, and all on the output's
# gradient.
@needs_torch
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 6), (4, 4), (6, 1)])
@pytest.mark.parametrize(("size", "padding"), [(1, 0), (2, 0), (2, 1), (3, 1), (5, 2), (4, 3)])
def test_gradients_are_those_of_pytorch(size, padding, inputs, outputs):
  x, kernel, cotangent = operands(3, 6, size, padding, inputs, outputs)

  @compiled
  def gradients(x, kernel, cotangent):
    return jax.vjp(lambda x, kernel: convolution.convolve(x, kernel, padding), x, kernel)[1](cotangent)

  expected = torch_gradients(x, kernel, cotangent, padding)
  # sums of products of normal numbers, up to 4 x 4 where they are few: over taps and channels, and over
  # pixels
  terms = size**2 * outputs, cotangent.size // outputs
  for array, reference, count in zip(gradients(x, kernel, cotangent), expected, terms, strict=True):
    np.testing.assert_allclose(array, reference, rtol=0, atol=sum_tolerance(count, 4))


@pytest.mark.parametrize("batch", [4, 6])
def test_chunks_add_up(monkeypatch, batch):
  x, _, cotangent = operands(batch, 6, 3, 1, 4, 4)
  whole = convolution.kernel_gradient(x, cotangent, size=3, padding=1)
  monkeypatch.setattr(convolution, "CHUNK_BYTES", 1)  # as many chunks as the batch has powers of two
  assert "scan" in str(
    jax.make_jaxpr(lambda *pair: convolution.kernel_gradient(*pair, size=3, padding=1))(x, cotangent)
  )
  np.testing.assert_allclose(
    convolution.kernel_gradient(x, cotangent, size=3, padding=1),
    whole,
    rtol=0,
    atol=sum_tolerance(batch * 6 * 7),
  )


@needs_torch
def test_half_precision_is_summed_in_single():
  x, kernel, cotangent = operands(4, 16, 3, 1, 4, 4)
  halves = [jnp.asarray(array, jnp.bfloat16) for array in (x, kernel, cotangent)]
  _, found = jax.vjp(lambda x, kernel: convolution.convolve(x, kernel, 1), *halves[:2])[1](halves[2])
  _, expected = torch_gradients(*(np.asarray(array, np.float32) for array in halves), 1)
  assert found.dtype == jnp.bfloat16
  # one rounding, not 1,024 of them
  np.testing.assert_allclose(
    np.asarray(found, np.float32), expected, rtol=eps(jnp.bfloat16), atol=sum_tolerance(4 * 16 * 17)
  )


def test_other_platforms_keep_the_gradient_of_their_own_library():
  x, kernel, cotangent = operands(2, 6, 3, 1, 4, 4)
  gradient = jax.jit(
    lambda x, kernel, cotangent: jax.vjp(lambda k: convolution.convolve(x, k, 1), kernel)[1](cotangent)
  )

  def lowered(platform):
    return jax.export.export(gradient, platforms=[platform])(x, kernel, cotangent).mlir_module()
  assert "dot_general" in lowered("cpu") and "dot_general" not in lowered("cuda")
  expected = jax.vjp(
    lambda k: lax.conv_general_dilated(
      x, k, (1, 1), ((1, 1),) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    ),
    kernel,
  )[1]
  np.testing.assert_allclose(
    gradient(x, kernel, cotangent)[0], expected(cotangent)[0], rtol=0, atol=sum_tolerance(2 * 6 * 7)
  )


def test_gradients_under_vmap():
  x, kernel, cotangent = operands(6, 6, 3, 1, 4, 4)
  def of_kernel(x, cotangent):
    return jax.vjp(lambda k: convolution.convolve(x, k, 1), kernel)[1](cotangent)[0]
  apart = jax.vmap(of_kernel)(x.reshape(2, 3, *x.shape[1:]), cotangent.reshape(2, 3, *cotangent.shape[1:]))
  np.testing.assert_allclose(apart.sum(0), of_kernel(x, cotangent), rtol=0, atol=sum_tolerance(6 * 6 * 7))
