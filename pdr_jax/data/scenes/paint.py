"""Albedo of a head: a function of the sculpting coordinates of `head_mesh.py` (y up, half a head's height = 1) and an appearance.

Pure jnp, elementwise over pixels; coordinates and colours are separate planes [B, H, W]: XLA then fuses the whole painting into one
vectorized loop, nine times faster than with colours as the last axis.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

MOUTH_SINE = -0.58302  # sine of head_mesh.MOUTH: the line between the lips
HAIRLINE = ((0, 22, 40, 52, 62, 72, 80, 92, 100, 180), (0.60, 0.585, 0.47, 0.30, 0.20, -0.02, -0.12, -0.10, -0.52, -0.80))


def _step(value, low, high):
  t = jnp.clip((value - low) / (high - low), 0.0, 1.0)
  return t * t * (3.0 - 2.0 * t)


def _bell(square):
  """exp(-square / 2) to within 0.04, zero beyond 2.8 deviations: without the exponential, which dominates the cost otherwise."""
  q = jnp.maximum(1.0 - square * 0.125, 0.0)
  q = q * q
  return q * q


def _spot(x, y, cx, cy, wx, wy):
  dx, dy = (x - cx) * (1.0 / wx), (y - cy) * (1.0 / wy)
  return _bell(dx * dx + dy * dy)


def _wave(turns):
  """A sine of 2 pi turns to within 0.06: two parabolas, for the same reason."""
  u = turns - jnp.floor(turns + 0.5)
  return 8.0 * u * (1.0 - 2.0 * jnp.abs(u))


def _around(ax, z):
  """Degrees around the vertical axis from the front (ax >= 0), to within 0.3: atan2 as a rational function."""
  low = jnp.minimum(ax, jnp.abs(z)) / jnp.maximum(jnp.maximum(ax, jnp.abs(z)), 1e-6)
  angle = low * (45.0 - (low - 1.0) * (14.02 + 3.79 * low))
  angle = jnp.where(ax > jnp.abs(z), 90.0 - angle, angle)
  return jnp.where(z < 0.0, 180.0 - angle, angle)


def _piecewise(value, knots):
  """Linear interpolation as a sum of clipped ramps: elementwise, where `jnp.interp` would search."""
  xs, ys = knots
  total = ys[0] + 0.0 * value
  for x0, x1, y0, y1 in zip(xs[:-1], xs[1:], ys[:-1], ys[1:], strict=True):
    total = total + (y1 - y0) / (x1 - x0) * jnp.clip(value - x0, 0.0, x1 - x0)
  return total


def _over(below, above, cover):
  """Three colour planes over three others, by cover [B, H, W]."""
  return [b + (a - b) * cover for b, a in zip(below, above, strict=True)]


def paint(x: Float[Array, "B H W"], y: Float[Array, "B H W"], z: Float[Array, "B H W"], look: dict[str, Array]) -> tuple:
  """Reflectance in [0.02, 0.97], planes (red, green, blue) of [B, H, W], at sculpting coordinates (x right, y up, z out); `look`: `sample.draw`'s appearance, arrays [B, ...]."""
  number = lambda name: look[name][:, None, None]
  item = lambda name, k: look[name][:, k, None, None]
  colour = lambda name: [item(name, k) for k in range(3)]
  ax = jnp.abs(x)
  right = jnp.where(x > 0, 1.0, 0.0)
  front = _step(z, 0.15, 0.4)
  radius = jnp.sqrt(x * x + y * y + z * z + 1e-12)
  around = _around(ax, z)

  # Low noise over everything, asymmetric: waves of random directions.
  noise = 0.0
  for k in range(6):
    wave = look["waves"][:, k]
    noise = noise + _wave(wave[:, 0, None, None] * x + wave[:, 1, None, None] * y + wave[:, 2, None, None] * z + wave[:, 3, None, None])
  noise = noise * number("blotch")

  # Skin: redder cheeks, nose, chin; darker under the eyes; freckles; moles; stubble.
  skin = [c * (1.0 + noise) for c in colour("skin")]
  red = (_spot(ax, y, 0.36, -0.28, 0.14, 0.11) + 0.8 * _spot(x, y, 0.0, -0.36, 0.10, 0.08) + 0.4 * _spot(x, y, 0.0, -0.88, 0.14, 0.10)) * front
  red = red * number("blush")
  skin = [skin[0] * (1.0 + 0.10 * red), skin[1] * (1.0 - 0.22 * red), skin[2] * (1.0 - 0.18 * red)]
  under = _spot(ax, y, 0.25, -0.115, 0.09, 0.03) * number("tired") + _spot(ax, y, 0.30, 0.08, 0.12, 0.035) * number("shadow")
  skin = [c * (1.0 - under * g) for c, g in zip(skin, (0.8, 1.0, 0.95), strict=True)]
  grain = _wave(9.7 * x + 2.7 * y + item("phase", 0)) * _wave(8.4 * y - 3.7 * x + item("phase", 1)) * _wave(7.5 * (x + y) + item("phase", 2))
  freckles = _step(grain, 0.35, 0.7) * _spot(ax, y, 0.22, -0.18, 0.22, 0.14) * number("freckles") * front
  skin = _over(skin, [skin[0] * 0.72, skin[1] * 0.55, skin[2] * 0.45], freckles)
  for k in range(4):
    mole = look["moles"][:, k]
    mole = mole[:, :, None, None]
    dark = mole[:, 3] * _spot(x, y, mole[:, 0], mole[:, 1], mole[:, 2], mole[:, 2])
    skin = _over(skin, [c * f for c, f in zip(colour("skin"), (0.45, 0.33, 0.28), strict=True)], dark * front)
  strands = 0.5 + 0.5 * _wave(14.3 * x + 1.3 * _wave(2.2 * y + item("phase", 3))) * _wave(11.1 * y + item("phase", 0))
  hair = colour("hair")
  chin = _step(-y, 0.40, 0.66) * _step(radius, 0.45, 0.6) * _step(-y, -10.0, 0.1) * _step(1.32 + y, 0.0, 0.14)
  chin = jnp.maximum(chin, _step(around, 50.0, 64.0) * _step(-y, 0.05, 0.4)) * _step(1.30 + y, 0.0, 0.2) * _step(102.0 - around, 0.0, 10.0)
  edge = 0.03 * _wave(1.4 * ax + 0.8 * y + item("phase", 1)) + 0.02 * noise
  lip_y = y - MOUTH_SINE * radius
  muzzle = _step(0.36 - ax, 0.0, 0.10) * _step(y + 0.50 + edge, 0.03, -0.03) * front
  hollow = 1.0 - _spot(ax, y, 0.30, -0.42, 0.12, 0.11)  # cheeks stay bare
  beard = jnp.clip(chin * hollow, 0.0, 1.0) * number("beard") + muzzle * _step(lip_y, -0.06, 0.02) * number("moustache") + _spot(x, y, 0, -0.88, 0.16, 0.14) * number("goatee")
  beard = jnp.clip(beard, 0.0, 1.0) * (0.88 + 0.12 * strands)
  rgb = _over(skin, [c * 0.9 for c in hair], beard)

  # Nostrils and the crease beside the wings.
  rgb = _over(rgb, [c * 0.25 for c in colour("skin")], _spot(ax, y, 0.055, -0.437, 0.020, 0.014) * _step(z, 0.7, 0.8) * 0.9)

  # Lips and what shows between them.
  t = jnp.clip(ax / 0.205, 0.0, 1.2)
  taper = jnp.sqrt(jnp.maximum(1.0 - t * t, 0.0))
  upper = (0.052 + 0.010 * _wave((ax - 0.05) * 6.4 + 0.25) * jnp.maximum(1.0 - t * 2.0, 0.0)) * jnp.maximum(1.0 - t * (0.4 + 0.6 * t), 0.0) * number("lips_full")
  lower = -0.078 * taper * jnp.maximum(1.0 - 0.35 * t, 0.0) * number("lips_full")
  lips = _step(upper - lip_y, -0.008, 0.010) * _step(lip_y - lower, -0.012, 0.012) * _step(0.206 - ax, -0.01, 0.02) * front
  lip_colour = colour("lips")
  rgb = _over(rgb, [c * (0.92 + 0.10 * _step(-lip_y, 0.0, 0.05)) for c in lip_colour], lips)
  seam = _step(0.205 - ax, -0.02, 0.03) * front
  gap = _step(jnp.abs(lip_y), 0.0080, 0.0050) * seam
  height = (lip_y + 0.006) / 0.012  # 0 at the lower lip, 1 at the upper
  teeth = _step(height, 0.50, 0.56) * number("teeth") * number("open") * _step(0.17 - ax, 0.0, 0.03)
  inside = _over([0.16 + 0.0 * x, 0.055 + 0.0 * x, 0.05 + 0.0 * x], [0.80 + 0.0 * x, 0.78 + 0.0 * x, 0.72 + 0.0 * x], teeth)
  rgb = _over(rgb, _over([c * 0.55 for c in lip_colour], inside, number("open")), gap)

  # Eyes: almond with white, iris, pupil, lash line and crease.
  ex = (ax - 0.285) / 0.128
  lid = jnp.maximum(1.0 - ex * ex, 0.0)
  centre_y = y + 0.005 - 0.012 * ex
  upper_lid = 0.058 * lid * (1.3 - 0.3 * lid) * number("lid")
  lower_lid = -0.040 * lid
  aperture = _step(upper_lid - centre_y, -0.004, 0.006) * _step(centre_y - lower_lid, -0.005, 0.005) * _step(1.0 - jnp.abs(ex), 0.0, 0.05) * front
  gx, gy = x - jnp.where(x > 0, 0.285, -0.285) - item("gaze", 0), y + 0.002 - item("gaze", 1)
  iris_r = jnp.sqrt(gx * gx + gy * gy + 1e-12)
  white = [c * (1.0 - 0.25 * jnp.abs(ex)) + 0.0 * x for c in (0.78, 0.75, 0.73)]
  eye = _over(white, [c * (1.0 - 0.35 * _step(iris_r, 0.040, 0.058)) for c in colour("iris")], _step(0.060 - iris_r, -0.005, 0.006))
  eye = _over(eye, [0.02 + 0.0 * x] * 3, _step(0.027 - iris_r, -0.005, 0.006))
  rgb = _over(rgb, eye, aperture)
  lashes = _step(0.020 - jnp.abs(centre_y - upper_lid - 0.004), 0.0, 0.014) * _step(1.06 - jnp.abs(ex), 0.0, 0.14) * front
  rgb = _over(rgb, [0.10 * c + 0.03 for c in colour("skin")], lashes * number("lashes"))
  crease = _step(0.014 - jnp.abs(centre_y - 0.105 * lid * (1.7 - 0.7 * lid) - 0.004), 0.0, 0.014) * _step(1.0 - jnp.abs(ex), 0.0, 0.3) * front
  rgb = _over(rgb, [c * 0.62 for c in colour("skin")], crease * 0.7)

  # Brows: an arc that thins outwards; left and right a little different.
  bx = (ax - 0.10) / 0.40
  along = jnp.clip(bx, 0.0, 1.0)
  side = right * 2.0 - 1.0
  arc = 0.150 + number("brow_y") + number("brow_arch") * _wave(along * 0.366) + side * number("brow_skew")
  thick = number("brow_thick") * (1.0 - 0.65 * along * (0.5 + 0.5 * along))
  hairs = 0.85 + 0.15 * _wave(24.0 * ax + 9.5 * y)
  brows = _step(thick - jnp.abs(y - arc), -0.010, 0.016) * _step(bx, -0.06, 0.10) * _step(1.0 - bx, -0.03, 0.12) * front
  rgb = _over(rgb, colour("brow"), jnp.clip(brows * hairs * number("brow_dense"), 0.0, 1.0))

  # Hair: everything above the hairline, the sides where it is long, and the fringe; strands, a parting, grey noise.
  ragged = 0.020 * _wave(3.7 * x + item("phase", 2)) + 0.015 * _wave(6.5 * x + item("phase", 3))
  line = _piecewise(around, HAIRLINE) + number("recede") * _step(60.0 - around, 0.0, 30.0) + number("temples") * _spot(around, 0.0 * y, 38.0, 0.0, 10.0, 1.0)
  scalp = _step(y - line + ragged, -0.02, 0.03)
  fringe_line = number("fringe_y") + 0.10 * item("part", 0) * x + 1.5 * ragged
  fringe = _step(y - fringe_line, -0.015, 0.02) * _step(z, -0.1, 0.1) * number("fringe")
  ear = _step(ax, 0.60, 0.655) * _spot(y, z, -0.14, -0.03, 0.17, 0.16)
  long = _step(around, 65.0, 68.0) * _step(0.5 - y, 0.0, 0.1) * number("long")
  back = _step(around, 104.0, 112.0) * _step(y, -0.72, -0.5)
  cover = jnp.maximum(jnp.maximum(jnp.maximum(scalp, back) * (1.0 - _step(ear, 0.25, 0.5)), fringe), long) * number("hair_on")
  parting = _spot(x - 0.10 * (z - 0.3), 0.0, item("part", 1), 0.0, 0.022, 1.0) * _step(y, 0.45, 0.6) * item("part", 2)
  lock = _wave((x - item("part", 1)) * 5.4 + 0.8 * _wave(0.95 * y + item("phase", 0)) + item("phase", 1)) * _wave(around * 0.0875 + 1.4 * z)
  fine = _wave((x + 0.3 * z) * 15.1 + 1.1 * y + item("phase", 2))
  fine = fine + (_wave(around * 0.33 + 0.3 * _wave(0.8 * y + item("phase", 2))) - fine) * long
  shade = 1.0 + 0.13 * lock + 0.09 * fine + noise
  hair = [c * shade for c in hair]
  hair = _over(hair, skin, parting * 0.6)
  rgb = _over(rgb, hair, cover)

  # Clothes below the neck.
  shirt = _step(-1.34 - 0.25 * z - y, -0.01, 0.03) * (1.0 - number("long") * _step(around, 65.0, 68.0))
  rgb = _over(rgb, colour("shirt"), shirt)
  return tuple(jnp.clip(c, 0.02, 0.97) for c in rgb)
