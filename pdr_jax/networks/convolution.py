"""Stride-1 convolution, computed in other ways on the CPU.

There its kernel gradient is made of matrix products, and 5x5 kernels take Winograd's scheme. XLA:CPU computes
the gradient of a convolution's kernel as a convolution by a window as large as the image, several times
slower than the forward pass (benchmarks/README.md has the figures). It is also one matrix product, of shifted
copies of the input with shifted copies of the output's gradient, summed over pixels.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.networks import winograd

# of shifted copies that exist at a time: large enough for a fast product, small enough to stay near the cache
CHUNK_BYTES = 8 * 2**20


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(
  x: Float[ArrayLike, "B H W I"], kernel: Float[ArrayLike, "k k I O"], padding: int
) -> Float[Array, "B H+2*{padding}-k+1 W+2*{padding}-k+1 O"]:
  """Cross-correlation of stride 1 with `padding` zeros on every side (0 <= padding < k).

  Differentiable once, in reverse mode.
  """
  return _correlate(x, kernel, padding)


def _correlate(x, kernel, padding):
  plain = functools.partial(_plain, padding=padding)
  if not winograd.suits(x, kernel, kernel.shape[0], padding):
    return plain(x, kernel)
  return lax.platform_dependent(x, kernel, cpu=winograd.convolve, default=plain)


def _of_input(gradient, x, kernel, padding):
  """The input's gradient: again a convolution, by the kernel turned by half a circle."""
  turned = kernel[::-1, ::-1].swapaxes(2, 3)
  if winograd.suits(gradient, turned, kernel.shape[0], padding):
    return _correlate(gradient, turned, padding)
  return jax.vjp(lambda x: _plain(x, kernel, padding), x)[1](gradient)[0]


def _plain(x, kernel, padding):
  return lax.conv_general_dilated(
    x, kernel, (1, 1), ((padding, padding),) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def _forward(x, kernel, padding):
  return _correlate(x, kernel, padding), (x, kernel)


def _backward(padding, residuals, gradient):
  x, kernel = residuals
  of_kernel = lax.platform_dependent(
      x, gradient,
      cpu=functools.partial(kernel_gradient, size=kernel.shape[0], padding=padding),
      default=lambda x, gradient: jax.vjp(lambda kernel: _plain(x, kernel, padding), kernel)[1](gradient)[0],
  )
  return _of_input(gradient, x, kernel, padding), of_kernel


convolve.defvjp(_forward, _backward)


def kernel_gradient(
    x: Float[ArrayLike, "B H W I"], gradient: Float[ArrayLike, "B P Q O"], *, size: int, padding: int
) -> Float[Array, "{size} {size} I O"]:
  """The kernel's gradient, in the dtype of `x`.

  It is `sum over b, p, q of x[b, p + i - padding, q + j - padding] gradient[b, p, q]`. By Winograd's scheme
  where it suits; else the `size` shifts of each axis go to either operand, whichever makes the copies
  smallest. Sums are float32.
  """
  batch, (inputs, outputs) = x.shape[0], (x.shape[-1], gradient.shape[-1])
  if winograd.suits(x, gradient, size, padding):
    product, width = winograd.kernel_gradient, winograd.copies(inputs, outputs)
  else:
    widths = {
      (a, b): inputs * size ** (a + b) + outputs * size ** (2 - a - b) for a, b in ((1, 1), (0, 1), (0, 0))
    }
    shifts_x, width = min(widths.items(), key=lambda item: item[1])
    product = functools.partial(_shifted_product, size=size, padding=padding, shifts_x=shifts_x)
  chunks = 1
  while batch % (2 * chunks) == 0 and 4 * width * gradient[0, :, :, 0].size * batch > chunks * CHUNK_BYTES:
    chunks *= 2
  if chunks == 1:
    return product(x, gradient).astype(x.dtype)
  parts = [array.reshape(chunks, batch // chunks, *array.shape[1:]) for array in (x, gradient)]
  total, _ = lax.scan(
    lambda total, part: (total + product(*part), None), jnp.zeros((size, size, inputs, outputs)), parts
  )
  return total.astype(x.dtype)


def _shifted_product(x, gradient, size, padding, shifts_x):
  """`kernel_gradient` of one chunk, float32.

  `shifts_x` (rows, columns) says whether the shifts of that axis are those of `x`.
  """
  x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  inputs, outputs = x.shape[-1], gradient.shape[-1]
  for axis, on_x in zip((1, 2), shifts_x, strict=True):
    if on_x:
      x = _shifted(x, axis, range(size), gradient.shape[axis])
    else:
      edges = [(size - 1, size - 1) if i == axis else (0, 0) for i in range(4)]
      gradient = _shifted(jnp.pad(gradient, edges), axis, range(size - 1, -1, -1), x.shape[axis])
  product = lax.dot_general(
    x.reshape(-1, x.shape[-1]),
    gradient.reshape(-1, gradient.shape[-1]),
    (((0,), (0,)), ((), ())),
    preferred_element_type=jnp.float32,
  )
  # the shifts of the columns were put outside of those of the rows
  of_x = [size if on_x else 1 for on_x in shifts_x[::-1]]
  of_gradient = [size // count for count in of_x]
  product = product.reshape(*of_x, inputs, *of_gradient, outputs).transpose(1, 4, 0, 3, 2, 5)
  return product.reshape(size, size, inputs, outputs)


def _shifted(array, axis, starts, length):
  """The slices of that length from each start, side by side in the channels."""
  return jnp.concatenate(
    [lax.slice_in_dim(array, start, start + length, axis=axis) for start in starts], axis=-1
  )
