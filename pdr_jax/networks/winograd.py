"""5x5 convolution of stride 1 with fewer products, for XLA on the CPU (benchmarks/README.md has the figures).

Four output rows of it are sums of 20 one-row convolutions. By the scheme of Toom and Cook, F(4, 5) in Winograd's notation (Lavin and Gray,
"Fast algorithms for convolutional neural networks", CVPR 2016), 8 suffice, of sums of eight input rows. Rows alone: with the columns
as well there would be 6.25 times fewer products instead of 2.5, but then XLA:CPU spends more time on the sums than it saves.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

TAPS, ROWS = 5, 4
LEAST_CHANNELS = 32  # 16 would still gain, but small configurations rather have one convolution to compile than eight
CHUNK = 4            # images at a time: their sums of rows stay near the cache


def _toom_cook() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """`out [4,8]`, `taps [8,5]`, `rows [8,8]` with `correlate(x, k) = out @ ((taps @ k) * (rows @ x))` for eight x and five k."""
  points = np.array([0, 1, -1, 2, -2, 0.5, -0.5])
  powers = lambda count: np.vstack([points[:, None] ** np.arange(count), np.eye(count)[-1]])  # polynomials' values there and at infinity
  rows = np.linalg.inv(powers(len(points) + 1)).T
  # Every row of `rows` times the denominator of its Lagrange polynomial: small numbers, so that little is lost to rounding.
  scale = np.append([np.prod(point - points[points != point]) for point in points], 1.0)
  return powers(ROWS).T, powers(TAPS) / scale[:, None], rows * scale[:, None]


OUT, OF_TAPS, OF_ROWS = _toom_cook()


def suits(x: Float[Array, "B H W I"], kernel: Float[Array, "k k I O"], padding: int) -> bool:
  """Whether `convolve` takes these operands, and is the faster way."""
  single = x.dtype == kernel.dtype == jnp.float32
  return single and kernel.shape[0] == TAPS and padding == TAPS // 2 and x.shape[1] % ROWS == 0 and min(kernel.shape[2:]) >= LEAST_CHANNELS


def convolve(x: Float[Array, "B H W I"], kernel: Float[Array, "5 5 I O"]) -> Float[Array, "B H W O"]:
  """Cross-correlation with two zeros on every side; H is a multiple of 4. Rounding errors are 2 to 5 times those of the plain sum."""
  kernels = jnp.einsum("pt,tuio->puio", OF_TAPS.astype(np.float32), kernel, precision="highest")
  batch = x.shape[0]
  if batch % CHUNK or batch == CHUNK:
    return _rows(x, kernels)
  return lax.map(lambda part: _rows(part, kernels), x.reshape(-1, CHUNK, *x.shape[1:])).reshape(*x.shape[:3], -1)


def _rows(x, kernels):
  batch, height, width, _ = x.shape
  x = jnp.pad(x, ((0, 0), (TAPS // 2, TAPS // 2), (0, 0), (0, 0)))
  inputs = [x[:, i : i + height - ROWS + 1 : ROWS] for i in range(len(OF_ROWS))]
  along_rows = dict(window_strides=(1, 1), padding=((0, 0), (TAPS // 2, TAPS // 2)), dimension_numbers=("NHWC", "HWIO", "NHWC"))
  products = [lax.conv_general_dilated(_sum(weights, inputs), kernel[None], **along_rows)
              for weights, kernel in zip(OF_ROWS, kernels, strict=True)]
  return jnp.stack([_sum(weights, products) for weights in OUT], axis=2).reshape(batch, height, width, -1)


def _sum(weights, terms):
  """The weighted sum, without the terms of weight zero."""
  return sum(np.float32(weight) * term for weight, term in zip(weights, terms, strict=True) if abs(weight) > 1e-9)
