"""Paint of `embedded_cars`: which part each place of the body is, and its colour.

Places are given by stations s and places q of `car_mesh.py`.
"""

import jax.numpy as jnp

from pdr_jax.data.scenes.car_mesh import ARCH, BODY, WHEEL

PARTS = (
  "background",
  "body",
  "window",
  "wheel",
  "light",
  "grille",
)  # a wheel with its dark arch; plates belong to the grille
TYRE, ARCH_COLOUR, GRILLE, CHROME, PLATE = 0.05, 0.03, 0.05, 0.45, 0.75  # reflectances


def paint_car(coords, material, look) -> tuple:
  """(three planes of reflectance, part uint8 [B, H, W]), see `render_scene.render`.

  `look` is as `cars.draw` makes it.
  """
  s, q, _ = coords
  side = jnp.abs(q)

  def number(name):
    return look[name][:, None, None]

  def within(value, low, high):
    return (value > low) & (value < high)

  def colour(name):
    return [look[name][:, c, None, None] + 0.0 * s for c in range(3)]

  body = material == BODY

  roof = within(s, 3.6, 5.6) & (side < 2.12)
  rgb = [jnp.where(roof, a, b) for a, b in zip(colour("roof"), colour("body"), strict=True)]
  seam = within(side, 3.3, 7.2) & (within(s, 4.48, 4.54) | within(s, 3.42, 3.50) | within(s, 5.5, 5.56))
  seam = seam | (within(side, 4.0, 4.25) & within(s, 2.3, 7.5)) | (within(s, 2.92, 3.0) & (side < 2.6))
  rgb = [jnp.where(seam, 0.6 * c, c) for c in rgb]
  screens = (side < 1.86) & (within(s, 3.05, 3.93) | within(s, 5.12, 5.85))
  panes = within(side, 2.14, 2.94) & within(s, 3.36, number("glass_end")) & ~within(s, 4.46, 4.54)
  window = body & (screens | panes)
  light = body & (
    (within(s, 1.25, 1.92) & within(side, 1.75, 3.7)) | (within(s, 7.95, 8.6) & within(side, 2.0, 3.8))
  )
  plate = within(s, 0.62, 0.92) & (side < 0.42)
  bars = within(s, 1.20, 1.78) & (side < number("grille"))
  front = body & (bars | plate | (within(s, 0.25, 0.52) & (side < 1.7)))

  def paint(where, values):
    return [jnp.where(where, value, below) for value, below in zip(values, rgb, strict=True)]

  chrome = jnp.where(within(jnp.abs(s - 1.49), 0.02, 0.09), CHROME, GRILLE)
  front_colour = jnp.where(plate, PLATE, jnp.where(bars, chrome, GRILLE))
  rgb = paint(front, [front_colour] * 3)
  rgb = paint(window, [number("glass") * tint for tint in (0.85, 0.95, 1.05)])
  rgb = paint(light, [jnp.where(s < 5.0, number("lamp"), red) for red in (0.55, 0.04, 0.04)])

  radius = jnp.sqrt(
    s * s + q * q + 1e-12
  )  # of a wheel, in radii, where (s, q) are the coordinates on its disc
  spoke = (
    jnp.maximum(jnp.abs(s), jnp.abs(q)) - 0.7 * jnp.minimum(jnp.abs(s), jnp.abs(q)) < number("spoke") * radius
  )
  rim = jnp.where(spoke & (radius > 0.2), 0.35 * number("rim"), number("rim"))
  rgb = paint(material == WHEEL, [jnp.where(radius < 0.68, rim, TYRE)] * 3)
  rgb = paint(material == ARCH, [ARCH_COLOUR + 0.0 * s] * 3)

  part = jnp.full(s.shape, PARTS.index("body"), jnp.uint8)
  for name, where in (("grille", front), ("window", window), ("light", light), ("wheel", material != BODY)):
    part = jnp.where(where, jnp.uint8(PARTS.index(name)), part)
  return tuple(rgb), part
