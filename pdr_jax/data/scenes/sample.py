"""Draws one scene: who, which expression, how painted, lit and seen. NumPy, no JAX.

Image i depends on (seed, split, i) only.
"""

import numpy as np

from pdr_jax.data.scenes.paint import MOLES, WAVES

# Reflectances (display values taken as linear) of skin from light to dark, and of hair, irises and cloth.
SKINS = np.array(
  [
    [0.95, 0.80, 0.71],
    [0.90, 0.71, 0.60],
    [0.82, 0.61, 0.49],
    [0.70, 0.49, 0.37],
    [0.55, 0.37, 0.27],
    [0.40, 0.26, 0.19],
  ]
)
HAIRS = np.array(
  [
    [0.06, 0.05, 0.05],
    [0.13, 0.08, 0.06],
    [0.25, 0.15, 0.09],
    [0.42, 0.27, 0.15],
    [0.72, 0.55, 0.32],
    [0.48, 0.20, 0.09],
    [0.62, 0.60, 0.58],
  ]
)
HAIR_SHARES = np.array([3, 4, 4, 3, 3, 1.2, 1.8]) / 20
IRISES = np.array(
  [
    [0.16, 0.09, 0.05],
    [0.28, 0.17, 0.09],
    [0.35, 0.33, 0.18],
    [0.26, 0.32, 0.22],
    [0.26, 0.36, 0.46],
    [0.36, 0.40, 0.44],
  ]
)
STYLES = ("bald", "short", "fringe", "long", "long_fringe")
STYLE_SHARES = np.array([[0.0, 0.15, 0.15, 0.42, 0.28], [0.12, 0.62, 0.16, 0.07, 0.03]])  # of women, of men
# rx, ry, rz (radians), tx, ty, tz (model units)
VIEW_LIMIT = np.array([*np.deg2rad([25, 40, 12]), 0.010, 0.010, 0.01])
VIEW_SPREAD = np.array([np.deg2rad(13), np.deg2rad(28), np.deg2rad(5), 0.004, 0.004, 0.0])
SPLITS = ("train", "validation", "test", "test_light", "test_view")  # of every world its own
# identity: the person's number (each image is another person's); expression: 1 + the strongest one, 0 where
# all are weak; others 0 or 1.
LABELS = (
  "identity", "expression", "smiling", "mouth_open", "beard", "long_hair", "bald", "fringe", "male",
  "dark_hair",
)


def generator(seed: int, split: str, index: int) -> np.random.Generator:
  """The random stream of one image."""
  return np.random.default_rng([seed, SPLITS.index(split), index])


def draw_view(rng) -> np.ndarray:
  """[6] float32: normal in each component, redrawn until it is within VIEW_LIMIT."""
  view = np.full(6, np.inf)
  while np.any(np.abs(view) > VIEW_LIMIT):
    fresh = rng.normal(size=6) * VIEW_SPREAD
    view = np.where(np.abs(view) > VIEW_LIMIT, fresh, view)
  return view.astype(np.float32)


def draw_light(rng) -> dict[str, np.ndarray | np.float32]:
  """Ambient light (), and two directional sources, of which the second is often dark.

  They are diffuse [2] and unit direction [2, 3], in the canonical frame. At full frontal light shading is at
  most about 1, so that few pixels saturate.
  """
  ambient = rng.uniform(0.25, 0.55)
  key = rng.uniform(0.6, 1.0) * (1.2 - ambient)
  fill = rng.uniform(0.0, 0.35) * key * (rng.random() < 0.5)
  azimuth = np.clip(rng.normal(0, 0.75, 2), -1.4, 1.4)
  height = np.clip(rng.normal(0.25, 0.45, 2), -0.6, 1.1)
  direction = np.stack(
    [-np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)], -1
  )
  return {
    "ambient": np.float32(ambient),
    "diffuse": np.array([key, fill], np.float32),
    "direction": direction.astype(np.float32),
  }


def _palette(rng, colours, jitter):
  """A colour between two neighbours of the palette, jittered."""
  at = rng.uniform(0, len(colours) - 1)
  low = int(at)
  colour = colours[low] + (at - low) * (colours[min(low + 1, len(colours) - 1)] - colours[low])
  return np.clip(colour * (1 + jitter * rng.normal(size=3)), 0.03, 0.95)


def draw_look(rng, makeup: bool | None = None) -> dict[str, np.ndarray | str | bool]:
  """Appearance for `paint.paint`: a dict of float32 arrays; besides, `style` (of hair, a name) and `man`
  (bool), which shapes depend on.

  `makeup`: whether there is some; None: as drawn. Everything else is drawn the same.
  """
  skin = _palette(rng, SKINS, 0.03)
  dark = np.clip((0.75 - skin[1]) / 0.5, 0, 1)
  man = rng.random() < 0.5
  drawn = (not man) * (rng.random() < 0.6)
  makeup = drawn if makeup is None else makeup
  if rng.random() > 0.75 * dark:
    hair = HAIRS[rng.choice(len(HAIRS), p=HAIR_SHARES)]
  else:
    hair = HAIRS[rng.integers(2)]
  hair = np.clip(hair * (1 + 0.08 * rng.normal(size=3)), 0.03, 0.9)
  style = STYLES[rng.choice(len(STYLES), p=STYLE_SHARES[int(man)])]
  rose = np.array([0.78, 0.32, 0.32]) if makeup else np.array([0.80, 0.50, 0.46])
  lips = skin * rng.uniform(0.55, 0.65) + rose * rng.uniform(0.28, 0.38) * (1 - 0.45 * dark)
  bearded = man * (rng.random() < 0.45)
  parting = [
    rng.normal(0, 2.0),
    rng.choice([-0.28, 0.0, 0.28]) + rng.normal(0, 0.03),
    (rng.random() < 0.6) * rng.uniform(0.4, 1.0),
  ]
  look = {
    "skin": skin,
    "hair": hair,
    "lips": np.clip(lips, 0.05, 0.9),
    "iris": _palette(rng, IRISES, 0.08),
    "shirt": rng.uniform(0.05, 0.85, 3),
  }
  look |= _draw_skin(rng, makeup, dark, bearded)
  look |= {
    # mouth and eyes
    "lips_full": rng.uniform(0.8, 1.15),
    "teeth": rng.random() < 0.7,
    "open": 1.0,
    "lid": rng.uniform(0.75, 1.1) * (0.1 if rng.random() < 0.03 else 1.0),
    "lashes": rng.uniform(0.5, 0.8) + 0.2 * makeup,
    "gaze": rng.normal(0, 0.016, 2) * [1, 0.6],
    # brows and hair
    "brow": np.clip(hair * rng.uniform(0.5, 0.9) + 0.1 * skin, 0.03, 0.7),
    "brow_y": rng.normal(0, 0.008),
    "brow_arch": rng.uniform(0.005, 0.045),
    "brow_skew": rng.normal(0, 0.004),
    "brow_thick": rng.uniform(0.020, 0.040) + 0.006 * man,
    "brow_dense": rng.uniform(0.65, 1.0),
    "recede": rng.uniform(-0.05, 0.10),
    "temples": rng.uniform(0, 0.20) * man,
    "part": parting,
    "fringe": "fringe" in style,
    "fringe_y": rng.uniform(0.24, 0.46),
    "long": "long" in style,
    "hair_on": style != "bald",
  }
  return {name: np.asarray(value, np.float32) for name, value in look.items()} | {"style": style, "man": man}


def _draw_skin(rng, makeup, dark, bearded) -> dict:
  """What is on the skin: spots, blush, freckles, moles and beard."""
  return {
    "waves": np.concatenate([rng.normal(0, 0.8, (WAVES, 3)), rng.uniform(0, 1, (WAVES, 1))], -1),
    "phase": rng.uniform(0, 1, 4),
    "blotch": rng.uniform(0.008, 0.028),
    "blush": rng.uniform(0.15, 0.7) + 0.3 * makeup,
    "tired": rng.uniform(0, 0.22),
    "shadow": rng.uniform(0, 0.12) + 0.25 * makeup,
    "freckles": rng.uniform(0.4, 0.9) * (rng.random() < 0.25) * (1 - dark),
    "moles": np.stack(
      [
        rng.uniform(-0.5, 0.5, MOLES),
        rng.uniform(-0.95, 0.5, MOLES),
        rng.uniform(0.008, 0.015, MOLES),
        rng.uniform(0.4, 0.9, MOLES) * (rng.random(MOLES) < 0.35),
      ],
      -1,
    ),
    "beard": bearded * rng.uniform(0.25, 0.95) * (rng.random() < 0.75),
    "moustache": bearded * rng.uniform(0.3, 0.95),
    "goatee": bearded * rng.uniform(0, 0.9),
  }


def draw_background(rng) -> np.ndarray:
  """[3, 3]: a colour, and its change across the picture's width and height; reflectances."""
  grey = rng.uniform(0.08, 0.85)
  return np.stack(
    [
      np.clip(grey + rng.normal(0, 0.07, 3), 0.03, 0.95),
      rng.normal(0, 0.06) + rng.normal(0, 0.04, 3),
      rng.normal(0, 0.06) + rng.normal(0, 0.04, 3),
    ]
  ).astype(np.float32)


def draw_hair(rng, style: str) -> dict[str, float]:
  """Weights of `head_mesh.HAIR` for a style."""
  long, fringe, some = "long" in style, "fringe" in style, style != "bald"
  return {
    "hair_cap": some * rng.uniform(0.5, 1.3),
    "hair_top": some * rng.uniform(0.0, 1.2),
    "hair_long": long * rng.uniform(0.9, 1.05),
    "hair_wide": long * rng.uniform(-0.7, 1.3),
    "hair_fringe": fringe * rng.uniform(0.6, 1.3),
  }


def draw_scene(rng, weights, look: dict) -> dict:
  """A whole scene for `render_scene.render`, from the shape's weights and an appearance.

  Light, view and background are drawn here.
  """
  light, view = draw_light(rng), draw_view(rng)
  return {
    "weights": np.asarray(weights, np.float32),
    **light,
    "view": view,
    "background": draw_background(rng),
    "look": look,
  }


def look_labels(look: dict, style: str, man: bool) -> dict[str, int]:
  """The attributes among LABELS that an appearance decides."""
  return {
    "beard": int(max(look["beard"], look["goatee"]) > 0.25),
    "long_hair": int("long" in style),
    "bald": int(style == "bald"),
    "fringe": int("fringe" in style),
    "male": int(man),
    "dark_hair": int(look["hair"].mean() < 0.2),
  }
