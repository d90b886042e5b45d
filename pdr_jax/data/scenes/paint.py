"""Albedo of a head: a function of an appearance and of the sculpting coordinates of `head_mesh.py`.

There y is up, and half a head's height is 1. Pure jnp, elementwise over pixels; coordinates and colours are
separate planes [B, H, W]: XLA then fuses the whole painting into one vectorized loop, nine times faster than
with colours as the last axis. For the same reason there are no sines and exponentials, which would cost more
than everything else. Colours are lists of three planes, laid over one another from the skin up.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

# Degrees: the line between the lips is where sculpting coordinates have this elevation, a row of the grid.
MOUTH = -35.66
MOUTH_SINE = float(np.sin(np.deg2rad(MOUTH)))
# Height of the hairline at angles around the head (degrees from the front).
HAIRLINE = (
  (0, 22, 40, 52, 62, 72, 80, 92, 100, 180),
  (0.60, 0.585, 0.47, 0.30, 0.20, -0.02, -0.12, -0.10, -0.52, -0.80),
)
MOLES, WAVES = 4, 6  # how many there are in an appearance


def _step(value, low, high):
  """Smooth step from 0 at `low` to 1 at `high`."""
  t = jnp.clip((value - low) / (high - low), 0.0, 1.0)
  return t * t * (3.0 - 2.0 * t)


def _bell(square):
  """exp(-square / 2) to within 0.04, zero beyond 2.8 deviations."""
  q = jnp.maximum(1.0 - square * 0.125, 0.0)
  q = q * q
  return q * q


def _spot(x, y, cx, cy, wx, wy):
  dx, dy = (x - cx) * (1.0 / wx), (y - cy) * (1.0 / wy)
  return _bell(dx * dx + dy * dy)


def _wave(turns):
  """A sine of 2 pi turns to within 0.06: two parabolas."""
  u = turns - jnp.floor(turns + 0.5)
  return 8.0 * u * (1.0 - 2.0 * jnp.abs(u))


def _around(ax, z):
  """Degrees around the vertical axis from the front (ax >= 0), to within 0.3: atan2 as a polynomial."""
  low = jnp.minimum(ax, jnp.abs(z)) / jnp.maximum(jnp.maximum(ax, jnp.abs(z)), 1e-6)
  angle = low * (45.0 - (low - 1.0) * (14.02 + 3.79 * low))
  angle = jnp.where(ax > jnp.abs(z), 90.0 - angle, angle)
  return jnp.where(z < 0.0, 180.0 - angle, angle)


def piecewise(value, knots):
  """Linear interpolation as a sum of clipped ramps: elementwise, where `jnp.interp` would search."""
  xs, ys = knots
  total = ys[0] + 0.0 * value
  for x0, x1, y0, y1 in zip(xs[:-1], xs[1:], ys[:-1], ys[1:], strict=True):
    total = total + (y1 - y0) / (x1 - x0) * jnp.clip(value - x0, 0.0, x1 - x0)
  return total


def _over(below, above, cover):
  """Three colour planes over three others, by cover [B, H, W] in [0, 1]."""
  return [b + (a - b) * cover for b, a in zip(below, above, strict=True)]


def _times(colour, *factors):
  """A colour times one factor, or one for each channel."""
  return [c * f for c, f in zip(colour, factors * 3 if len(factors) == 1 else factors, strict=True)]


class _Canvas:
  """Where we paint, and the appearance: the quantities that several layers use."""

  def __init__(self, x, y, z, look):
    self.x, self.y, self.z, self.look = x, y, z, look
    self.covers = {}  # how much of a place each layer covers, for maps of parts
    self.ax = jnp.abs(x)
    self.front = _step(z, 0.15, 0.4)
    self.radius = jnp.sqrt(x * x + y * y + z * z + 1e-12)
    self.around = _around(self.ax, z)
    self.lip_y = y - MOUTH_SINE * self.radius  # height above the line between the lips
    self.noise = self.number("blotch") * sum(
      _wave(w[:, 0] * x + w[:, 1] * y + w[:, 2] * z + w[:, 3])
      for w in (look["waves"][:, k, :, None, None] for k in range(WAVES))
    )

  def number(self, name):
    return self.look[name][:, None, None]

  def item(self, name, k):
    return self.look[name][:, k, None, None]

  def colour(self, name):
    return [self.item(name, k) for k in range(3)]

  def constant(self, *rgb):
    return [c + 0.0 * self.x for c in rgb]


def paint(
  x: Float[ArrayLike, "B H W"],
  y: Float[ArrayLike, "B H W"],
  z: Float[ArrayLike, "B H W"],
  look: dict[str, Array | np.ndarray],
) -> tuple:
  """Reflectance in [0.02, 0.97] at sculpting coordinates (x right, y up, z out).

  It gives planes (red, green, blue) of [B, H, W]. `look`: `sample.draw_look`'s appearance, arrays [B, ...].
  """
  return paint_and_covers(x, y, z, look)[0]


def paint_and_covers(x, y, z, look) -> tuple[tuple, dict[str, Array]]:
  """`paint`, how much of a place each cover hides, and `lip_y`.

  The covers are lips, mouth (what shows between open lips), eyes, brows, hair, ears and clothes. They are
  [B, H, W] in [0, 1], later ones over earlier ones. `lip_y` is the height above the line between the lips.
  """
  canvas = _Canvas(x, y, z, look)
  skin = _skin(canvas)
  rgb = _beard(canvas, skin)
  for layer in (_nostrils, _lips, _eyes, _brows):
    rgb = layer(canvas, rgb)
  rgb = _hair(canvas, skin, rgb)
  rgb = _clothes(canvas, rgb)
  return tuple(jnp.clip(c, 0.02, 0.97) for c in rgb), {**canvas.covers, "lip_y": canvas.lip_y}


def _skin(c):
  """Blotches; redder cheeks, nose and chin; darker around the eyes; freckles; moles."""
  x, y, ax = c.x, c.y, c.ax
  skin = _times(c.colour("skin"), 1.0 + c.noise)
  red = (
    _spot(ax, y, 0.36, -0.28, 0.14, 0.11)
    + 0.8 * _spot(x, y, 0.0, -0.36, 0.10, 0.08)
    + 0.4 * _spot(x, y, 0.0, -0.88, 0.14, 0.10)
  )
  red = red * c.front * c.number("blush")
  skin = _times(skin, 1.0 + 0.10 * red, 1.0 - 0.22 * red, 1.0 - 0.18 * red)
  dark = _spot(ax, y, 0.25, -0.115, 0.09, 0.03) * c.number("tired") + _spot(
    ax, y, 0.30, 0.08, 0.12, 0.035
  ) * c.number("shadow")
  skin = _times(skin, 1.0 - 0.8 * dark, 1.0 - dark, 1.0 - 0.95 * dark)
  grain = _wave(9.7 * x + 2.7 * y + c.item("phase", 0)) * _wave(8.4 * y - 3.7 * x + c.item("phase", 1))
  grain = grain * _wave(7.5 * (x + y) + c.item("phase", 2))
  freckles = _step(grain, 0.35, 0.7) * _spot(ax, y, 0.22, -0.18, 0.22, 0.14) * c.number("freckles") * c.front
  skin = _over(skin, _times(skin, 0.72, 0.55, 0.45), freckles)
  for mole in (c.look["moles"][:, k, :, None, None] for k in range(MOLES)):
    cover = mole[:, 3] * _spot(x, y, mole[:, 0], mole[:, 1], mole[:, 2], mole[:, 2]) * c.front
    skin = _over(skin, _times(c.colour("skin"), 0.45, 0.33, 0.28), cover)
  return skin


def _beard(c, rgb):
  """On jaw, chin and upper lip; cheeks stay bare."""
  x, y, ax = c.x, c.y, c.ax
  jaw = jnp.maximum(_step(-y, 0.40, 0.66), _step(c.around, 50.0, 64.0) * _step(-y, 0.05, 0.4))
  jaw = (
    jaw
    * _step(1.30 + y, 0.0, 0.2)
    * _step(102.0 - c.around, 0.0, 10.0)
    * (1.0 - _spot(ax, y, 0.30, -0.42, 0.12, 0.11))
  )
  edge = 0.03 * _wave(1.4 * ax + 0.8 * y + c.item("phase", 1)) + 0.02 * c.noise
  muzzle = (
    _step(0.36 - ax, 0.0, 0.10) * _step(y + 0.50 + edge, 0.03, -0.03) * _step(c.lip_y, -0.06, 0.02) * c.front
  )
  cover = (
    jaw * c.number("beard")
    + muzzle * c.number("moustache")
    + _spot(x, y, 0.0, -0.88, 0.16, 0.14) * c.number("goatee")
  )
  strands = _wave(14.3 * x + 1.3 * _wave(2.2 * y + c.item("phase", 3))) * _wave(11.1 * y + c.item("phase", 0))
  return _over(rgb, _times(c.colour("hair"), 0.9), jnp.clip(cover, 0.0, 1.0) * (0.94 + 0.06 * strands))


def _nostrils(c, rgb):
  return _over(
    rgb,
    _times(c.colour("skin"), 0.25),
    0.9 * _spot(c.ax, c.y, 0.055, -0.437, 0.020, 0.014) * _step(c.z, 0.7, 0.8),
  )


def _lips(c, rgb):
  """Lips, and what shows between them where the mouth is open.

  An open mouth stretches the narrow band of coordinates along their line.
  """
  ax, lip_y = c.ax, c.lip_y
  t = jnp.clip(ax / 0.205, 0.0, 1.2)  # 0 in the middle, 1 at the corner
  bow = 0.052 + 0.010 * _wave((ax - 0.05) * 6.4 + 0.25) * jnp.maximum(1.0 - t * 2.0, 0.0)
  upper = bow * jnp.maximum(1.0 - t * (0.4 + 0.6 * t), 0.0) * c.number("lips_full")
  lower = (
    -0.078
    * jnp.sqrt(jnp.maximum(1.0 - t * t, 0.0))
    * jnp.maximum(1.0 - 0.35 * t, 0.0)
    * c.number("lips_full")
  )
  cover = (
    _step(upper - lip_y, -0.008, 0.010)
    * _step(lip_y - lower, -0.012, 0.012)
    * _step(0.206 - ax, -0.01, 0.02)
    * c.front
  )
  lips = c.colour("lips")
  rgb = _over(rgb, _times(lips, 0.92 + 0.10 * _step(-lip_y, 0.0, 0.05)), cover)
  gap = _step(jnp.abs(lip_y), 0.0080, 0.0050) * _step(0.205 - ax, -0.02, 0.03) * c.front
  height = (lip_y + 0.006) / 0.012  # 0 at the lower lip, 1 at the upper
  teeth = _step(height, 0.50, 0.56) * _step(0.17 - ax, 0.0, 0.03) * c.number("teeth") * c.number("open")
  inside = _over(c.constant(0.16, 0.055, 0.05), c.constant(0.80, 0.78, 0.72), teeth)
  c.covers |= {"lips": cover, "mouth": gap * c.number("open")}
  return _over(rgb, _over(_times(lips, 0.55), inside, c.number("open")), gap)


def _eyes(c, rgb):
  """Almonds with white, iris and pupil; line of lashes; crease of the upper lid."""
  ex = (c.ax - 0.285) / 0.128  # -1 and 1 at the corners of the eye
  lid, within = jnp.maximum(1.0 - ex * ex, 0.0), 1.0 - jnp.abs(ex)
  height = c.y + 0.005 - 0.012 * ex
  upper, lower = 0.058 * lid * (1.3 - 0.3 * lid) * c.number("lid"), -0.040 * lid
  aperture = (
    _step(upper - height, -0.004, 0.006)
    * _step(height - lower, -0.005, 0.005)
    * _step(within, 0.0, 0.05)
    * c.front
  )
  gx, gy = c.x - jnp.where(c.x > 0, 0.285, -0.285) - c.item("gaze", 0), c.y + 0.002 - c.item("gaze", 1)
  from_pupil = jnp.sqrt(gx * gx + gy * gy + 1e-12)
  eye = _times(c.constant(0.78, 0.75, 0.73), 1.0 - 0.25 * jnp.abs(ex))
  eye = _over(
    eye,
    _times(c.colour("iris"), 1.0 - 0.35 * _step(from_pupil, 0.040, 0.058)),
    _step(0.060 - from_pupil, -0.005, 0.006),
  )
  eye = _over(eye, c.constant(0.02, 0.02, 0.02), _step(0.027 - from_pupil, -0.005, 0.006))
  rgb = _over(rgb, eye, aperture)
  c.covers["eyes"] = aperture
  lashes = (
    _step(0.020 - jnp.abs(height - upper - 0.004), 0.0, 0.014)
    * _step(within, -0.06, 0.08)
    * c.front
    * c.number("lashes")
  )
  rgb = _over(rgb, [0.10 * s + 0.03 for s in c.colour("skin")], lashes)
  crease = (
    _step(0.014 - jnp.abs(height - 0.105 * lid * (1.7 - 0.7 * lid) - 0.004), 0.0, 0.014)
    * _step(within, 0.0, 0.3)
    * c.front
  )
  return _over(rgb, _times(c.colour("skin"), 0.62), crease * 0.7)


def _brows(c, rgb):
  """An arc that thins outwards; left and right a little different."""
  bx = (c.ax - 0.10) / 0.40
  along = jnp.clip(bx, 0.0, 1.0)
  arc = (
    0.150
    + c.number("brow_y")
    + c.number("brow_arch") * _wave(along * 0.366)
    + jnp.where(c.x > 0, 1.0, -1.0) * c.number("brow_skew")
  )
  thick = c.number("brow_thick") * (1.0 - 0.65 * along * (0.5 + 0.5 * along))
  cover = (
    _step(thick - jnp.abs(c.y - arc), -0.010, 0.016)
    * _step(bx, -0.06, 0.10)
    * _step(1.0 - bx, -0.03, 0.12)
    * c.front
  )
  c.covers["brows"] = cover
  hairs = 0.88 + 0.12 * _wave(24.0 * c.ax + 9.5 * c.y)
  return _over(rgb, c.colour("brow"), jnp.clip(cover * hairs * c.number("brow_dense"), 0.0, 1.0))


def _hair(c, skin, rgb):
  """Above the hairline; behind the ears; at the sides where it is long; the fringe.

  Locks, strands, a parting.
  """
  x, y, z, around = c.x, c.y, c.z, c.around
  ragged = 0.020 * _wave(3.7 * x + c.item("phase", 2)) + 0.015 * _wave(6.5 * x + c.item("phase", 3))
  line = piecewise(around, HAIRLINE) + c.number("recede") * _step(60.0 - around, 0.0, 30.0)
  line = line + c.number("temples") * _spot(around, 0.0, 38.0, 0.0, 10.0, 1.0)
  scalp = jnp.maximum(
    _step(y - line + ragged, -0.02, 0.03), _step(around, 104.0, 112.0) * _step(y, -0.72, -0.5)
  )
  ear = _step(c.ax, 0.60, 0.655) * _spot(y, z, -0.14, -0.03, 0.17, 0.16)
  fringe_line = c.number("fringe_y") + 0.10 * c.item("part", 0) * x + 1.5 * ragged
  fringe = _step(y - fringe_line, -0.015, 0.02) * _step(z, -0.1, 0.1) * c.number("fringe")
  sides = _step(around, 65.0, 68.0) * c.number("long")
  long = sides * _step(0.5 - y, 0.0, 0.1)
  cover = jnp.maximum(jnp.maximum(scalp * (1.0 - _step(ear, 0.25, 0.5)), fringe), long) * c.number("hair_on")
  c.covers |= {"ears": _step(ear, 0.2, 0.3), "hair": cover}

  offset = x - c.item("part", 1)
  lock = _wave(offset * 5.4 + 0.8 * _wave(0.95 * y + c.item("phase", 0)) + c.item("phase", 1)) * _wave(
    around * 0.0875 + 1.4 * z
  )
  strand = _wave((x + 0.3 * z) * 15.1 + 1.1 * y + c.item("phase", 2))
  strand = strand + (_wave(around * 0.33 + 0.3 * _wave(0.8 * y + c.item("phase", 2))) - strand) * long
  hair = _times(c.colour("hair"), 1.0 + 0.13 * lock + 0.09 * strand + c.noise)
  parting = (
    _spot(offset - 0.10 * (z - 0.3), 0.0, 0.0, 0.0, 0.022, 1.0) * _step(y, 0.45, 0.6) * c.item("part", 2)
  )
  return _over(rgb, _over(hair, skin, parting * 0.6), cover)


def _clothes(c, rgb):
  hidden = _step(c.around, 65.0, 68.0) * c.number("long")
  collar = c.number("collar") if "collar" in c.look else -1.34
  c.covers["clothes"] = _step(collar - 0.25 * c.z - c.y, -0.01, 0.03) * (1.0 - hidden)
  return _over(rgb, c.colour("shirt"), c.covers["clothes"])
