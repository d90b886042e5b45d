"""Paint of `people`, and which part of a head each place belongs to.

The paint covers the head, a collar that the picture shows, glasses and hats.
"""

import jax.numpy as jnp

from pdr_jax.data.scenes.paint import paint_and_covers, piecewise
from pdr_jax.data.scenes.people_mesh import FRAME, HAT, LENS

# Classes of `segmentation`. A beard is skin, as in CelebAMask-HQ; eyes are what shows between the lids.
PARTS = (
  "background",
  "skin",
  "nose",
  "eyes",
  "brows",
  "ears",
  "mouth",
  "upper_lip",
  "lower_lip",
  "hair",
  "neck",
  "clothes",
  "glasses",
  "hat",
)
# Half the width of the nose by height, from its wings to between the brows.
NOSE = ((-0.47, -0.44, -0.38, -0.30, -0.10, 0.08, 0.10), (0.0, 0.11, 0.165, 0.13, 0.075, 0.055, 0.0))
LENS_COLOUR = 0.035  # reflectance


def paint_person(coords, material, look) -> tuple:
  """(three planes of reflectance, part uint8 [B, H, W]), see `render_scene.render`.

  `look` is as `people.draw` makes it.
  """
  x, y, z = coords
  rgb, covers = paint_and_covers(x, y, z, look)
  ax, over = jnp.abs(x), lambda name: covers[name] > 0.5
  part = jnp.full(x.shape, PARTS.index("skin"), jnp.uint8)

  def lay(name, where):
    return jnp.where(where, jnp.uint8(PARTS.index(name)), part)

  part = lay("neck", (y + 0.72 + 0.62 * (z - 0.1) < 0.0) & (y < -0.55))
  part = lay("nose", (ax < piecewise(y, NOSE)) & (z > 0.55))
  part = lay("upper_lip", over("lips") & (covers["lip_y"] >= 0))
  part = lay("lower_lip", over("lips") & (covers["lip_y"] < 0))
  part = lay("mouth", over("mouth"))
  part = lay("eyes", over("eyes"))
  part = lay("brows", over("brows"))
  part = lay("ears", over("ears"))
  part = lay("hair", over("hair"))
  part = lay("clothes", over("clothes"))

  def number(name, channel):
    return look[name][:, channel, None, None]

  band = (y < 0.62 + 0.14 * z) & (y > 0.475 + 0.14 * z)  # the hat's lower edge rises to the front
  worn = [(FRAME, [number("frame", c) + 0 * x for c in range(3)]), (LENS, [LENS_COLOUR + 0 * x] * 3),
          (HAT, [jnp.where(band, number("hat_band", c), number("hat", c)) for c in range(3)])]
  for kind, colour in worn:
    rgb = [jnp.where(material == kind, c, below) for c, below in zip(colour, rgb, strict=True)]
  part = lay("glasses", (material == FRAME) | (material == LENS))
  part = lay("hat", material == HAT)
  return tuple(rgb), part
