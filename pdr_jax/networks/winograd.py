"""5x5 convolution of stride 1, and its kernel's gradient, with fewer products, for XLA on the CPU.

benchmarks/README.md has the figures. Four output rows of it are sums of 20 one-row convolutions. By the
scheme of Toom and Cook, F(4, 5) in Winograd's notation (Lavin and Gray, "Fast algorithms for convolutional
neural networks", CVPR 2016), 8 suffice, of sums of eight input rows. Rows alone: with the columns as well
there would be 6.25 times fewer products instead of 2.5, but then XLA:CPU spends more time on the sums than it
saves.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float

TAPS, ROWS = 5, 4
# 16 would still gain, but small configurations rather have one convolution to compile than eight
LEAST_CHANNELS = 32
CHUNK = 4            # images at a time: their sums of rows stay near the cache


def _toom_cook() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """`out [4,8]`, `taps [8,5]`, `rows [8,8]` with `correlate(x, k) = out @ ((taps @ k) * (rows @ x))` for
  eight x and five k.
  """
  points = np.array([0, 1, -1, 2, -2, 0.5, -0.5])
  def powers(count):
    # polynomials' values there and at infinity
    return np.vstack([points[:, None] ** np.arange(count), np.eye(count)[-1]])
  rows = np.linalg.inv(powers(len(points) + 1)).T
  # Every row of `rows` times the denominator of its Lagrange polynomial: small numbers, so that little is
  # lost to rounding.
  scale = np.append([np.prod(point - points[points != point]) for point in points], 1.0)
  return powers(ROWS).T, powers(TAPS) / scale[:, None], rows * scale[:, None]


OUT, OF_TAPS, OF_ROWS = _toom_cook()


def suits(x: Float[ArrayLike, "B H W I"], other: Float[ArrayLike, "... O"], size: int, padding: int) -> bool:
  """Whether `convolve` and `kernel_gradient` take an input and its kernel or gradient, and are faster."""
  single = x.dtype == other.dtype == jnp.float32
  return (single and size == TAPS and padding == TAPS // 2 and x.shape[1] % ROWS == 0
          and min(x.shape[-1], other.shape[-1]) >= LEAST_CHANNELS)


def convolve(x: Float[ArrayLike, "B H W I"], kernel: Float[ArrayLike, "5 5 I O"]) -> Float[Array, "B H W O"]:
  """Cross-correlation with two zeros on every side; H is a multiple of 4.

  Rounding errors are 2 to 5 times those of the plain sum.
  """
  kernels = jnp.einsum("pt,tuio->puio", OF_TAPS.astype(np.float32), kernel, precision="highest")
  batch = x.shape[0]
  if batch % CHUNK or batch == CHUNK:
    return _rows(x, kernels)
  return lax.map(lambda part: _rows(part, kernels), x.reshape(-1, CHUNK, *x.shape[1:])).reshape(
    *x.shape[:3], -1
  )


def kernel_gradient(
  x: Float[ArrayLike, "B H W I"], gradient: Float[ArrayLike, "B H W O"]
) -> Float[Array, "5 5 I O"]:
  """The gradient of `convolve`'s kernel, that of the output given.

  It takes the same eight products, with the parts of kernel and output exchanged. Each is one matrix product,
  over all pixels, with the output's gradient shifted by five columns, side by side in the channels.
  """
  height, width, inputs, outputs = *x.shape[1:], gradient.shape[-1]
  gradient = jnp.pad(gradient, ((0, 0), (0, 0), (TAPS - 1, TAPS - 1), (0, 0)))
  shifted = [gradient[:, :, start : start + width + TAPS - 1] for start in reversed(range(TAPS))]
  shifted = lax.optimization_barrier(jnp.concatenate(shifted, axis=-1))  # or XLA shifts again for every sum
  rows = [shifted[:, i : i + height - ROWS + 1 : ROWS] for i in range(ROWS)]
  inputs_of_rows = _tiles(jnp.pad(x, ((0, 0), (0, 0), (TAPS // 2, TAPS // 2), (0, 0))))
  def flat(array):
    return array.reshape(-1, array.shape[-1])

  products = [
    flat(_sum(of_x, inputs_of_rows)).T @ flat(_sum(of_gradient, rows))
    for of_x, of_gradient in zip(OF_ROWS, OUT.T, strict=True)
  ]
  kernel = jnp.einsum("pt,pio->tio", OF_TAPS.astype(np.float32), jnp.stack(products), precision="highest")
  return kernel.reshape(TAPS, inputs, TAPS, outputs).swapaxes(1, 2)


def copies(inputs: int, outputs: int) -> int:
  """Numbers that `kernel_gradient` makes for every pixel.

  They are the shifted gradient, and eight sums, one row of four.
  """
  return TAPS * outputs + len(OF_ROWS) * (TAPS * outputs + inputs) // ROWS


def _tiles(x: Float[ArrayLike, "B H W C"]) -> list[Float[Array, "B H//4 W C"]]:
  """The first input row that each four output rows need, the second, and so on to the eighth.

  Rows outside of the image are zeros.
  """
  height = x.shape[1]
  x = jnp.pad(x, ((0, 0), (TAPS // 2, TAPS // 2), (0, 0), (0, 0)))
  return [x[:, i : i + height - ROWS + 1 : ROWS] for i in range(len(OF_ROWS))]


def _rows(x, kernels):
  batch, height, width, _ = x.shape
  inputs = _tiles(x)
  # Of one dimension, which XLA:CPU computes on all cores; two-dimensional ones with so few channels it leaves
  # to one.
  along_rows = dict(
    window_strides=(1,), padding=((TAPS // 2, TAPS // 2),), dimension_numbers=("NWC", "WIO", "NWC")
  )
  products = [lax.conv_general_dilated(_sum(weights, inputs).reshape(-1, *x.shape[2:]), kernel, **along_rows)
              for weights, kernel in zip(OF_ROWS, kernels, strict=True)]
  rows = jnp.stack([_sum(weights, products) for weights in OUT], axis=1)  # [B H/4, 4, W, O]
  return rows.reshape(batch, height, width, -1)


def _sum(weights, terms):
  """The weighted sum, without the terms of weight zero."""
  return sum(
    np.float32(weight) * term for weight, term in zip(weights, terms, strict=True) if abs(weight) > 1e-9
  )
