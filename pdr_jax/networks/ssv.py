"""SSV's two networks: pictures of codes and viewpoints, and codes, viewpoints and realism of pictures.

Mustikovela et al. 2020 (arXiv 2004.01793), with the widths of the released checkpoint at `width` 512, and the
same shares of other widths and sides.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.networks.equalised import (
  AdaIN,
  Equalised,
  Mapping,
  activate,
  batch_deviation,
  doubled,
  halved,
  instance_norm,
)
from pdr_jax.render import camera, volume

SIDES = (16, 32, 64, 128, 256)
FLAT_SHARES = (2, 8, 16, 32)  # by which a generator's width is divided in its blocks in the plane
COARSE = 4  # voxels a side of the learned constant, and pixels a side of the critic's last map
ANGLES = ("azimuth", "elevation", "tilt")
# Of volume rendering, in halves of the volume's side: the radius of the soft ball, its steepness there,
# the width of the rim over which density always fades to zero, and half of the picture's side.
RADIUS, STEEPNESS, RIM, PICTURE = 0.7, 6.0, 1 / 6, 0.8


class Synthesis(nn.Module):
  """Codes `[B, 2 D]`, one for the volume and one for the picture, and angles (radians) to pictures.

  A learned volume is convolved and enlarged, and turned by the angles; what a ray meets becomes a pixel's
  channels. Pictures are not bounded.

  Attributes:
    width: channels of the learned volume.
    side: of the pictures, a power of two.
    volume_side: voxels a side of what is turned, from 4 and `side / 16` to `side / 2`.
    nearest: the nearest voxel instead of an interpolation, which has no gradient by the angles.
    volume_rendering: the volume is a medium, and a pixel's features are what its ray receives of it
      (`volume.emission_absorption`) instead of all that it meets, voxel by voxel. A turn is then all that the
      viewpoint does to what a ray meets, and the near side hides the far one.
  """

  width: int
  side: int
  channels: int
  volume_side: int = 16
  nearest: bool = False
  volume_rendering: bool = False
  mapping_layers: int = 8  # between a code and its style

  @nn.compact
  def __call__(
    self, codes: Float[ArrayLike, "B N"], angles: Float[ArrayLike, "P 3"], groups: tuple[int, ...] = (0,)
  ) -> Float[Array, "P S S C"]:
    """`groups`: pictures come in groups, all as large; for each of them the number of the group of codes that
    it is made of. A volume is made once for all pictures of its code.
    """
    mapping = Mapping(self.mapping_layers, name="mapping")
    in_volume, in_picture = (mapping(code) for code in jnp.split(codes, 2, axis=-1))
    x = self._volume(in_volume)
    x = self._medium(x) if self.volume_rendering else x
    x, in_picture = (_regrouped(y, groups) for y in (x, in_picture))
    x = self._rendered(x, angles) if self.volume_rendering else self._stacked(x, angles)
    x = Equalised(self.width, name="projection")(x)
    slope = self.param("projection_slope", nn.initializers.constant(0.25), (self.width,))
    x = jnp.where(x > 0, x, slope[None, None, None] * x)
    doublings = (self.side // self.volume_side).bit_length() - 1
    for i, share in enumerate(FLAT_SHARES[:doublings]):
      x = doubled(x)
      for j in range(2):
        x = Equalised(max(self.width // share, 1), 2, name=f"flat{i}_conv{j}")(x)
        x = activate(AdaIN(name=f"flat{i}_norm{j}")(x, in_picture))
    return Equalised(self.channels, name="pixels")(x)

  def _volume(self, style: Float[ArrayLike, "B D"]) -> Float[Array, "B V V V W"]:
    """The volume of a style, before it turns."""
    shape = (COARSE, COARSE, COARSE, self.width)
    x = self.param("constant", nn.initializers.normal(1.0), shape)
    x = jnp.repeat(x[None], style.shape[0], axis=0)
    x = activate(AdaIN(name="start_norm")(x, style))
    x = activate(AdaIN(name="start_conv_norm")(Equalised(self.width, 3, name="start_conv")(x), style))
    doublings = (self.volume_side // COARSE).bit_length() - 1
    for i in range(doublings):
      x = doubled(x)
      for j in range(2):
        x = Equalised(max(self.width // 2 ** (i + 1), 1), 3, name=f"volume{i}_conv{j}")(x)
        x = activate(AdaIN(name=f"volume{i}_norm{j}")(x, style))
    return x

  def _stacked(
    self, x: Float[ArrayLike, "P V V V W"], angles: Float[ArrayLike, "P 3"]
  ) -> Float[Array, "P V V _"]:
    """All that rays meet in turned volumes, convolved in space."""
    x = volume.rotate(x, rotation_of(angles), nearest=self.nearest)
    width = max(x.shape[-1] // 2, 1)
    for i in range(4):
      x = activate(Equalised(width, 3, name=f"turned{i}")(x))
    return volume.depth_to_channels(x)

  def _medium(self, x: Float[ArrayLike, "B V V V W"]) -> Float[Array, "B V V V _"]:
    """Density in the first channel, and the features that are emitted."""
    width = x.shape[-1]
    x = activate(Equalised(2 * width, name="medium0")(x))
    x = volume.smoothed(Equalised(max(width, 2), name="medium1")(x))
    return jnp.concatenate([_density(x[..., :1]), x[..., 1:]], axis=-1)

  def _rendered(
    self, medium: Float[ArrayLike, "P V V V _"], angles: Float[ArrayLike, "P 3"]
  ) -> Float[Array, "P V V _"]:
    """What rays receive of turned media: features, and opacity as the last channel."""
    shown = jnp.array([PICTURE, PICTURE, 1.0])  # of x, y and z: pictures end before the medium, rays do not
    turn = shown[None, :, None] * rotation_of(angles)
    medium = volume.rotate(medium, turn, nearest=self.nearest)
    received, opacity = volume.emission_absorption(medium[..., 0], medium[..., 1:])
    return jnp.concatenate([received, opacity[..., None]], axis=-1)


def _regrouped(x: Float[ArrayLike, "B ..."], groups: tuple[int, ...]) -> Float[Array, "P ..."]:
  """The parts of a batch that have these numbers."""
  parts = jnp.split(x, max(groups) + 1)
  return jnp.concatenate([parts[number] for number in groups])


def _density(raw: Float[ArrayLike, "B V V V 1"]) -> Float[Array, "B V V V 1"]:
  """Of a medium: with small numbers about a soft ball, and always zero in the corners of the cube.

  Corners leave the volume when it turns. A ball that is cut off at voxels has steps on its surface, and
  pictures of it stripes that tell the viewpoint.
  """
  side = raw.shape[1]
  place = jnp.linspace(-1.0, 1.0, side)
  radius = jnp.sqrt(sum(jnp.square(axis) for axis in jnp.meshgrid(place, place, place)))[None, ..., None]
  rim = max(RIM, 2 / (side - 1))  # at least a voxel
  return nn.softplus(STEEPNESS * (RADIUS - radius) + raw) * jnp.clip((1 - radius) / rim, 0, 1)


def rotation_of(angles: Float[ArrayLike, "B 3"]) -> Float[Array, "B 3 3"]:
  """What turns a volume by azimuth, elevation and tilt: the transpose of `Ry(a) Rx(e) Rz(t)`, as released."""
  azimuth, elevation, tilt = (angles[:, i] for i in range(3))
  zero = jnp.zeros_like(tilt)
  about_y, about_x, about_z = (
    camera.rotation_matrix(jnp.stack(axes, axis=-1))
    for axes in ((zero, azimuth, zero), (elevation, zero, zero), (zero, zero, tilt))
  )
  return jnp.einsum("bij,bjk,bkl->bli", about_y, about_x, about_z, precision="highest")


class Seen(NamedTuple):
  """What the viewpoint network sees in pictures.

  Attributes:
    realism: the critic's score, not bounded.
    codes: of both styles, one after the other.
    magnitudes: logits of the squared cosine and sine of each angle.
    quadrants: logits of the signs of cosine and sine: both positive, sine negative, cosine negative, both.
    features: the vector that all of these are read from.
    maps: the trunk's maps, from fine to coarse.
    deviation: that of the last map over the batch, which the critic reads.
  """

  realism: Float[Array, " B"]
  codes: Float[Array, "B N"]
  magnitudes: Float[Array, "B 3 2"]
  quadrants: Float[Array, "B 3 4"]
  features: Float[Array, "B W"]
  maps: list[Float[Array, "B _ _ _"]]
  deviation: Float[Array, ""]


class Viewpoint(nn.Module):
  """Pictures to `Seen`: viewpoint network and critic in one.

  Attributes:
    width: channels of all maps but the first, which has half of them.
    code: numbers of both codes together.
    axis_name: over whose devices the batch is spread.
  """

  width: int
  code: int
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, images: Float[ArrayLike, "B S S C"], deviation: Float[ArrayLike, ""] | None = None,
    dropout: Float[ArrayLike, "B 3 H"] | None = None,
  ) -> Seen:
    """`deviation`: in the place of that of this batch, so that each picture is seen by itself.

    `dropout`: factors of the angles' hidden layers, 0 or the reciprocal of the share that stays; None: 1.
    """
    x, maps = halved(Equalised(max(self.width // 2, 1), name="pixels")(images)), []
    while x.shape[1] > COARSE:
      for j in range(2):
        x = activate(instance_norm(Equalised(self.width, 2, name=f"down{len(maps)}_conv{j}")(x)))
      x = halved(x)
      maps.append(x)
    deviation = batch_deviation(x, self.axis_name) if deviation is None else jnp.asarray(deviation)
    x = jnp.concatenate([x, jnp.broadcast_to(deviation[None, None, None, None], (*x.shape[:3], 1))], axis=-1)
    x = activate(instance_norm(Equalised(self.width, 2, name="last_conv")(x)))
    features = activate(Equalised(self.width, name="features")(x.reshape(x.shape[0], -1)))
    angles = [
      self._angle(features, None if dropout is None else dropout[:, i], name) for i, name in enumerate(ANGLES)
    ]
    magnitudes, quadrants = (jnp.stack(logits, axis=1) for logits in zip(*angles, strict=True))
    realism = Equalised(1, name="realism")(features)[:, 0]
    codes = Equalised(self.code, name="codes")(features)
    return Seen(realism, codes, magnitudes, quadrants, features, maps, deviation)

  def _angle(
    self, features: Float[ArrayLike, "B W"], dropout: Float[ArrayLike, "B H"] | None, name: str
  ) -> tuple[Float[Array, "B 2"], Float[Array, "B 4"]]:
    """Logits of an angle's magnitudes and quadrant."""
    hidden = nn.relu(Equalised(hidden_size(self.width), name=f"{name}_hidden")(features))
    hidden = hidden if dropout is None else hidden * dropout
    return Equalised(2, name=f"{name}_magnitudes")(hidden), Equalised(4, name=f"{name}_quadrant")(hidden)


def hidden_size(width: int) -> int:
  """Numbers in the hidden layer of each angle."""
  return max(width // 2, 1)
