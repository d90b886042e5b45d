"""Draws one scene: who, which expression, how painted, lit and seen. Image i depends on (seed, split, i) only. NumPy, no JAX."""

import numpy as np

# Reflectances (display values taken as linear) of skin from light to dark, and of hair, irises and cloth.
SKINS = np.array([[0.95, 0.80, 0.71], [0.90, 0.71, 0.60], [0.82, 0.61, 0.49], [0.70, 0.49, 0.37], [0.55, 0.37, 0.27], [0.40, 0.26, 0.19]])
HAIRS = np.array([[0.06, 0.05, 0.05], [0.13, 0.08, 0.06], [0.25, 0.15, 0.09], [0.42, 0.27, 0.15], [0.72, 0.55, 0.32], [0.48, 0.20, 0.09],
                  [0.62, 0.60, 0.58]])
IRISES = np.array([[0.16, 0.09, 0.05], [0.28, 0.17, 0.09], [0.35, 0.33, 0.18], [0.26, 0.32, 0.22], [0.26, 0.36, 0.46], [0.36, 0.40, 0.44]])
VIEW_LIMIT = np.array([np.deg2rad(25), np.deg2rad(40), np.deg2rad(12), 0.010, 0.010, 0.01])  # rx, ry, rz, tx, ty, tz
VIEW_SPREAD = np.array([np.deg2rad(13), np.deg2rad(28), np.deg2rad(5), 0.004, 0.004, 0.0])
SPLITS = ("train", "validation")
# identity: the person's number (each image is another person's); expression: 1 + the strongest one, 0 where all are weak; others 0 or 1
LABELS = ("identity", "expression", "smiling", "mouth_open", "beard", "long_hair", "bald", "fringe", "male", "dark_hair")


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


def draw_light(rng) -> dict[str, np.ndarray]:
  """Ambient, and two directional sources (the second often dark): ambient (), diffuse [2], direction [2, 3] unit, canonical frame.

  At full frontal light shading is at most about 1, so that few pixels saturate.
  """
  ambient = rng.uniform(0.25, 0.55)
  key = rng.uniform(0.6, 1.0) * (1.2 - ambient)
  fill = rng.uniform(0.0, 0.35) * key * (rng.random() < 0.5)
  azimuth = np.clip(rng.normal(0, 0.75, 2), -1.4, 1.4)
  height = np.clip(rng.normal(0.25, 0.45, 2), -0.6, 1.1)
  direction = np.stack([-np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)], -1)
  return {"ambient": np.float32(ambient), "diffuse": np.array([key, fill], np.float32), "direction": direction.astype(np.float32)}


def _palette(rng, colours, jitter):
  """A colour between two neighbours of the palette, jittered."""
  at = rng.uniform(0, len(colours) - 1)
  low = int(at)
  colour = colours[low] + (at - low) * (colours[min(low + 1, len(colours) - 1)] - colours[low])
  return np.clip(colour * (1 + jitter * rng.normal(size=3)), 0.03, 0.95)


def draw_look(rng) -> dict[str, np.ndarray]:
  """Appearance for `paint.paint`: a dict of float32 arrays."""
  skin = _palette(rng, SKINS, 0.03)
  dark = np.clip((0.75 - skin[1]) / 0.5, 0, 1)
  hair = HAIRS[rng.choice(len(HAIRS), p=np.array([3, 4, 4, 3, 3, 1.2, 1.8]) / 20)] if rng.random() > 0.75 * dark else HAIRS[rng.integers(2)]
  hair = np.clip(hair * (1 + 0.08 * rng.normal(size=3)), 0.03, 0.9)
  man = rng.random() < 0.5
  makeup = (not man) * (rng.random() < 0.6)
  style = rng.choice(["bald", "short", "fringe", "long", "long_fringe"], p=[0.12, 0.62, 0.16, 0.07, 0.03] if man else [0.0, 0.15, 0.15, 0.42, 0.28])
  bearded = man * (rng.random() < 0.45)
  rose = np.array([0.78, 0.32, 0.32]) if makeup else np.array([0.80, 0.50, 0.46])
  lips = np.clip(skin * (0.55 + 0.1 * rng.random()) + rose * (0.28 + 0.1 * rng.random()) * (1 - 0.45 * dark), 0.05, 0.9)
  moles = np.stack([rng.uniform(-0.5, 0.5, 4), rng.uniform(-0.95, 0.5, 4), rng.uniform(0.008, 0.015, 4), rng.uniform(0.4, 0.9, 4) * (rng.random(4) < 0.35)], -1)
  waves = np.concatenate([rng.normal(0, 0.8, (6, 3)), rng.uniform(0, 1, (6, 1))], -1)
  has_fringe = "fringe" in style
  look = dict(
      skin=skin, hair=hair, lips=lips, iris=_palette(rng, IRISES, 0.08), shirt=rng.uniform(0.05, 0.85, 3),
      brow=np.clip(hair * rng.uniform(0.5, 0.9) + 0.1 * skin, 0.03, 0.7),
      blotch=rng.uniform(0.008, 0.028), blush=rng.uniform(0.15, 0.7) + 0.3 * makeup, tired=rng.uniform(0, 0.22), shadow=rng.uniform(0, 0.12) + 0.25 * makeup,
      freckles=rng.uniform(0.4, 0.9) * (rng.random() < 0.25) * (1 - dark), phase=rng.uniform(0, 1, 4), moles=moles, waves=waves,
      beard=bearded * rng.uniform(0.25, 0.95) * (rng.random() < 0.75), moustache=bearded * rng.uniform(0.3, 0.95), goatee=bearded * rng.uniform(0, 0.9),
      lips_full=rng.uniform(0.8, 1.15), teeth=rng.random() < 0.7, open=1.0, lid=rng.uniform(0.75, 1.1) * (0.1 if rng.random() < 0.03 else 1.0),
      lashes=rng.uniform(0.5, 0.8) + 0.2 * makeup, gaze=rng.normal(0, 0.016, 2) * [1, 0.6], brow_y=rng.normal(0, 0.008), brow_arch=rng.uniform(0.005, 0.045),
      brow_skew=rng.normal(0, 0.004), brow_thick=rng.uniform(0.020, 0.040) + 0.006 * man, brow_dense=rng.uniform(0.65, 1.0),
      recede=rng.uniform(-0.05, 0.10), temples=rng.uniform(0, 0.20) * man, fringe=1.0 * has_fringe, fringe_y=rng.uniform(0.24, 0.46),
      part=np.array([rng.normal(0, 2.0), rng.choice([-0.28, 0.0, 0.28]) + rng.normal(0, 0.03), (rng.random() < 0.6) * rng.uniform(0.4, 1.0)]),
      long=1.0 * ("long" in style), hair_on=1.0 * (style != "bald"))
  return {k: np.asarray(v, np.float32) for k, v in look.items()} | {"style": style, "man": man}


def draw_background(rng) -> np.ndarray:
  """[3, 3]: a colour, and its change across the picture's width and height; reflectances."""
  grey = rng.uniform(0.08, 0.85)
  return np.stack([np.clip(grey + rng.normal(0, 0.07, 3), 0.03, 0.95), rng.normal(0, 0.06) + rng.normal(0, 0.04, 3),
                   rng.normal(0, 0.06) + rng.normal(0, 0.04, 3)]).astype(np.float32)


def draw_hair(rng, style: str) -> dict[str, float]:
  """Weights of `head_mesh.HAIR` for a style."""
  long, fringe, some = "long" in style, "fringe" in style, style != "bald"
  return {"hair_cap": some * rng.uniform(0.5, 1.3), "hair_top": some * rng.uniform(0.0, 1.2), "hair_long": long * rng.uniform(0.9, 1.05),
          "hair_wide": long * rng.uniform(-0.7, 1.3), "hair_fringe": fringe * rng.uniform(0.6, 1.3)}


def draw_scene(rng, weights, look: dict) -> dict:
  """A whole scene for `render_scene.render`, from the shape's weights and an appearance: light, view and background are drawn here."""
  return {"weights": np.asarray(weights, np.float32), **draw_light(rng), "view": draw_view(rng), "background": draw_background(rng), "look": look}


def look_labels(look: dict, style: str, man: bool) -> dict[str, int]:
  """The attributes among LABELS that an appearance decides."""
  return {"beard": int(max(look["beard"], look["goatee"]) > 0.25), "long_hair": int("long" in style), "bald": int(style == "bald"),
          "fringe": int("fringe" in style), "male": int(man), "dark_hair": int(look["hair"].mean() < 0.2)}
