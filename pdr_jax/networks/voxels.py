"""Networks of shapes from silhouettes: a picture's code, a volume of a code, and judges of both.

They are those of Ucar 2019 (arXiv 1911.07937) as released, at the sides 28, 32 and 64; PrGAN's (arXiv
1612.05872) share the decoder. Convolutions are those of TensorFlow's padding "SAME", written as matrix
products: XLA:CPU has no fast program for those with strides in three dimensions, nor for their gradients.
Batch statistics are those of the whole batch over `axis_name`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

SIDES = (28, 32, 64)
DECAY, EPSILON = 0.9, 1e-5  # of the batch normalisation
SLOPE = 0.2  # of the leaky rectifiers
SMALLEST_MAP = 2  # pixels a side, where the encoder ends
STATISTICS = "batch_stats"  # Flax's name of the collection

truncated = nn.initializers.truncated_normal(0.02)


def coarse_side(side: int) -> int:
  """Voxels a side where the decoder begins: 7 of 28, 8 of 32 and of 64."""
  return side // 4 if side < 64 else side // 8


def conv_down_same(
  x: Float[ArrayLike, "B H W I"], kernel: Float[ArrayLike, "3 3 I O"]
) -> Float[Array, "B h w O"]:
  """Convolution 3 x 3 of stride 2, padding "SAME": `h = ceil(H / 2)`, as TensorFlow pads it."""
  pads, starts = [], []
  for size in x.shape[1:3]:
    small = -(-size // 2)
    total = max(2 * small + 1 - size, 0)
    pads.append((total // 2, total - total // 2))
    starts.append(2 * small - 1)
  x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
  windows = [x[:, i : i + starts[0] : 2, j : j + starts[1] : 2] for i in range(3) for j in range(3)]
  return jnp.concatenate(windows, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


@jax.custom_vjp
def conv_up_3d(
  x: Float[ArrayLike, "B D H W I"], kernel: Float[ArrayLike, "3 3 3 I O"]
) -> Float[Array, "B 2*D 2*H 2*W O"]:
  """Transposed convolution 3 x 3 x 3 of stride 2, padding "SAME", with the size doubled.

  Along each axis, output 2 m is `x[m] k[0] + x[m - 1] k[2]` and output 2 m + 1 is `x[m] k[1]`. One product
  gives all 27 taps of every voxel; they are then laid over each other axis by axis. Written out backwards: of
  the sums above XLA:CPU makes one slow loop.
  """
  out = kernel.shape[-1]
  taps = (x.reshape(-1, x.shape[-1]) @ _as_matrix(kernel)).reshape(*x.shape[:4], 3, 3, 3, out)
  for axis in (3, 2, 1):  # the last tap axis belongs to the last axis of the volume
    first, second, third = (taps[..., k, :] for k in range(3))
    pad = [(0, 0)] * third.ndim
    pad[axis] = (1, 0)
    shifted = jax.lax.slice_in_dim(jnp.pad(third, pad), 0, third.shape[axis], axis=axis)
    pairs = jnp.stack([first + shifted, second], axis=axis + 1)
    taps = pairs.reshape(*pairs.shape[:axis], -1, *pairs.shape[axis + 2 :])
  return taps


def _as_matrix(kernel: Float[ArrayLike, "3 3 3 I O"]) -> Float[Array, "I 27*O"]:
  return jnp.moveaxis(kernel, 3, 0).reshape(kernel.shape[3], -1)


def _up_forward(x: ArrayLike, kernel: ArrayLike) -> tuple[Array, tuple[Array, Array]]:
  return conv_up_3d(x, kernel), (x, kernel)


def _up_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
  """The 27 cotangents of every voxel side by side, and two products."""
  x, kernel = residuals
  inputs, out = kernel.shape[3:]
  padded = jnp.pad(cotangent, ((0, 0), (0, 1), (0, 1), (0, 1), (0, 0)))
  taps = [(i, j, k) for i in range(3) for j in range(3) for k in range(3)]
  ends = [2 * size - 1 for size in x.shape[1:4]]
  windows = [
    padded[:, i : i + ends[0] : 2, j : j + ends[1] : 2, k : k + ends[2] : 2] for i, j, k in taps
  ]
  rows = jnp.concatenate(windows, axis=-1).reshape(-1, 27 * out)
  by_x = (rows @ _as_matrix(kernel).T).reshape(x.shape)
  by_kernel = (x.reshape(-1, inputs).T @ rows).reshape(inputs, 3, 3, 3, out)
  return by_x, jnp.moveaxis(by_kernel, 0, 3)


conv_up_3d.defvjp(_up_forward, _up_backward)


class Down(nn.Module):
  """`conv_down_same` with a bias."""

  features: int

  @nn.compact
  def __call__(self, x: Float[ArrayLike, "B H W I"]) -> Float[Array, "B h w O"]:
    kernel = self.param("kernel", truncated, (3, 3, x.shape[-1], self.features))
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    return conv_down_same(x, kernel) + bias[None, None, None]


class Up3D(nn.Module):
  """`conv_up_3d` with a bias, which starts at `start`."""

  features: int
  start: float = 0.0

  @nn.compact
  def __call__(self, x: Float[ArrayLike, "B D H W I"]) -> Float[Array, "B d h w O"]:
    kernel = self.param("kernel", truncated, (3, 3, 3, x.shape[-1], self.features))
    bias = self.param("bias", nn.initializers.constant(self.start), (self.features,))
    return conv_up_3d(x, kernel) + bias[None, None, None, None]


def normalisation(train: bool, axis_name: str | None, name: str) -> nn.BatchNorm:
  """Batch normalisation, of the batch's own statistics while training."""
  return nn.BatchNorm(
    use_running_average=not train, momentum=DECAY, epsilon=EPSILON, axis_name=axis_name, name=name
  )


class PictureEncoder(nn.Module):
  """A picture to the mean and the logarithm of the variance of its code, and to what says its pose.

  Stages of stride 2 go down to 2 x 2 pixels: four at the sides 28 and 32, five at 64.
  """

  width: int
  code: int
  pose: int = 0  # numbers of the third output, not bounded; 0: none
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, images: Float[ArrayLike, "B S S C"], train: bool
  ) -> tuple[Float[Array, "B D"], Float[Array, "B D"], Float[Array, "B P"]]:
    x, stage = images, 0
    while x.shape[1] > SMALLEST_MAP:
      x = Down(self.width, name=f"down{stage}")(x)
      x = normalisation(train, self.axis_name, f"down{stage}_norm")(x)
      x, stage = nn.leaky_relu(x, SLOPE), stage + 1
    x = x.reshape(x.shape[0], -1)
    mean = nn.Dense(self.code, kernel_init=truncated, name="mean")(x)
    log_variance = nn.Dense(self.code, kernel_init=truncated, name="log_variance")(x)
    if not self.pose:
      return mean, log_variance, jnp.zeros((x.shape[0], 0), x.dtype)
    return mean, log_variance, nn.Dense(self.pose, kernel_init=truncated, name="pose")(x)


class VolumeDecoder(nn.Module):
  """A code to the logits of the densities of a volume `[B, S, S, S]`.

  The first map has `width` channels, and every doubling halves them.
  """

  width: int
  side: int
  start: float = 0.0  # the logits' bias at the start
  axis_name: str | None = None

  @nn.compact
  def __call__(self, z: Float[ArrayLike, "B D"], train: bool) -> Float[Array, "B S S S"]:
    coarse, width = coarse_side(self.side), self.width
    x = nn.Dense(coarse**3 * width, kernel_init=nn.initializers.normal(0.1), name="expand")(z)
    x = x.reshape(-1, coarse, coarse, coarse, width)
    x = nn.leaky_relu(normalisation(train, self.axis_name, "expand_norm")(x), SLOPE)
    stage = 0
    while 2 * x.shape[1] < self.side:
      width = max(width // 2, 1)
      x = Up3D(width, name=f"up{stage}")(x)
      x = nn.leaky_relu(normalisation(train, self.axis_name, f"up{stage}_norm")(x), SLOPE)
      stage += 1
    return Up3D(1, self.start, name="density")(x)[..., 0]


class Texture(nn.Module):
  """A projection to a picture in (0, 1) that shows what a projection cannot: two linear layers."""

  width: int

  @nn.compact
  def __call__(self, projection: Float[ArrayLike, "B S S"]) -> Float[Array, "B S S"]:
    flat = projection.reshape(projection.shape[0], -1)
    hidden = nn.leaky_relu(nn.Dense(self.width, kernel_init=truncated, name="hidden")(flat), SLOPE)
    out = nn.Dense(flat.shape[1], kernel_init=truncated, name="pixels")(hidden)
    return nn.sigmoid(out).reshape(projection.shape)


class PoseNoise(nn.Module):
  """Noise to a position on the circle, in (-1, 1): 12 to 10 to 1, both with a tanh."""

  @nn.compact
  def __call__(self, noise: Float[ArrayLike, "B N"]) -> Float[Array, " B"]:
    hidden = jnp.tanh(nn.Dense(10, name="hidden")(noise))
    return jnp.tanh(nn.Dense(1, name="turn")(hidden))[:, 0]


class CodeJudge(nn.Module):
  """The logit that a code and a point on the circle come from the prior: two layers of `width`."""

  width: int

  @nn.compact
  def __call__(self, code: Float[ArrayLike, "B D"], direction: Float[ArrayLike, "B 2"]) -> Float[Array, " B"]:
    x = jnp.concatenate([code, direction], axis=-1)
    for name in ("hidden0", "hidden1"):
      x = nn.leaky_relu(nn.Dense(self.width, name=name)(x), SLOPE)
    return nn.Dense(1, name="logit")(x)[:, 0]


class PictureJudge(nn.Module):
  """The logit that a picture is of the data, and the first layer's features (PrGAN)."""

  width: int  # of the first stage; doubled at each of the four
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, images: Float[ArrayLike, "B S S C"], train: bool
  ) -> tuple[Float[Array, " B"], Float[Array, "B h w W"], Float[Array, "B F"]]:
    x = images
    for stage in range(4):
      x = Down(self.width * 2**stage, name=f"down{stage}")(x)
      if stage:
        x = normalisation(train, self.axis_name, f"down{stage}_norm")(x)
      x = nn.leaky_relu(x, SLOPE)
      if not stage:
        first = x
    x = x.reshape(x.shape[0], -1)
    return nn.Dense(1, kernel_init=truncated, name="logit")(x)[:, 0], first, x
