"""The embedded world `people`: heads with identity.

Each is seen many times, with other expressions, lights, views, clothes and backgrounds. Splits: `train`,
`validation` and `test` share no person; `test_light` and `test_view` show the people of `test` under light or
from a viewpoint outside the training range, by `light_outside` and `view_outside` degrees. Closed-set
identification has to divide `test` itself.
"""

import functools

import numpy as np
import tensorflow_datasets as tfds

from pdr_jax.data.scenes import builder, conditions, head_mesh, heads, people_mesh, people_paint, sample

VERSION = "1.0.0"  # raise it whenever a drawn or rendered pixel changes: prepared copies are found by it
PEOPLE = {"train": range(120), "validation": range(120, 150), "test": range(150, 210)}
PEOPLE |= {"test_light": PEOPLE["test"], "test_view": PEOPLE["test"]}
LIGHT_AXIS = np.array([0.0, 0.25, 1.0]) / np.hypot(0.25, 1.0)  # direction in which the middle light travels
LIGHT_LIMIT = 45.0  # degrees from it
YAW_LIMIT = 30.0    # degrees, the training range
PITCH, ROLL = 16.0, 6.0  # degrees: as far as heads nod (even), and one deviation of their tilt

EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # numbered as in FER2013
# Modes of the shape by the action units of each emotion (Ekman & Friesen's prototypes): least and most.
ACTIONS = {
  "angry": {
    "brow_down": (0.8, 1.2),
    "squint": (0.4, 0.9),
    "lip_press": (0.4, 1.0),
    "frown": (0.1, 0.5),
  },  # 4 5 7 23 24
  "disgust": {
    "nose_wrinkle": (0.8, 1.3),
    "upper_lip_up": (0.7, 1.2),
    "brow_down": (0.2, 0.6),
    "squint": (0.5, 1.0),
    "frown": (0.2, 0.7),
  },  # 9 10 15
  "fear": {
    "brow_inner_up": (0.7, 1.2),
    "brow_up": (0.3, 0.7),
    "lip_stretch": (0.7, 1.2),
    "mouth_open": (0.15, 0.4),
  },  # 1 2 4 5 20 25
  "happy": {"smile": (0.6, 1.1), "squint": (0.3, 0.8)},  # 6 12
  "sad": {"frown": (0.8, 1.3), "brow_inner_up": (0.7, 1.2), "brow_down": (0.0, 0.3)},  # 1 4 15
  "surprise": {"brow_up": (0.8, 1.3), "mouth_open": (0.5, 0.9)},  # 1 2 5 26
  "neutral": {},
}
# How far the lids open.
LIDS = {
  "angry": 0.85,
  "disgust": 0.7,
  "fear": 1.4,
  "happy": 0.85,
  "sad": 0.75,
  "surprise": 1.4,
  "neutral": 1.0,
}
HATS = ("beanie", "cap", "brim")
# As the person is, whether or not a hat or hair hides it.
ATTRIBUTES = (
  "smiling", "mouth_open", "glasses", "sunglasses", "hat", "beard", "moustache", "long_hair", "bald",
  "fringe", "makeup", "freckles", "pale_skin", "dark_hair", "blond_hair", "male",
)


@functools.cache
def shape_model() -> head_mesh.ShapeModel:
  """The shape model (computed once per process, some seconds)."""
  return people_mesh.make_people()


@functools.lru_cache(maxsize=len(PEOPLE["train"]))
def _person(seed: int, person: int) -> tuple[dict, list[dict], dict]:
  """What stays of a person: weights of the identity modes, appearance and habits.

  The appearance is with and without makeup; habits are probabilities of what may be worn.
  """
  rng = np.random.default_rng([seed, len(sample.SPLITS), person])  # beyond the streams of the splits
  state = rng.bit_generator.state
  looks = []
  for makeup in (False, True):
    rng.bit_generator.state = state
    looks.append(sample.draw_look(rng, makeup))
  man = looks[0]["man"]
  weights = {name: 0.75 * np.clip(rng.normal(), -2.2, 2.2) for name in head_mesh.IDENTITY}
  for name, shift in heads.MALE.items():
    weights[name] += shift if man else -shift
  habits = {
    "glasses": rng.choice([0.05, 0.8]),
    "hat": rng.choice([0.05, 0.4]),
    "makeup": (not man) * rng.choice([0.1, 0.8]),
    "frame": rng.choice([rng.uniform(0.03, 0.12), rng.uniform(0.3, 0.7)]) * rng.uniform(0.5, 1.3, 3),
    "round": rng.random(),
  }
  return weights, looks, habits


def _expression(rng, name: str) -> dict[str, float]:
  """Weights of all expression modes: those of the emotion, and a little of everything."""
  every = head_mesh.EXPRESSION + people_mesh.EXPRESSION
  weights = {mode: 0.12 * rng.beta(1, 3) for mode in every}
  for mode in ("mouth_open", "teeth_show"):
    weights[mode] = 0.0
  for mode, (least, most) in ACTIONS[name].items():
    weights[mode] = rng.uniform(least, most)
  if name == "happy":
    weights["mouth_open"] = rng.uniform(0.1, 0.45) * (rng.random() < 0.5)
    weights["teeth_show"] = weights["smile"] * (rng.random() < 0.7)
  if name in ("fear", "disgust"):
    weights["teeth_show"] = rng.uniform(0.3, 0.8) * (rng.random() < 0.6)
  if name == "neutral" and rng.random() < 0.15:  # a mouth may open for no reason
    weights["mouth_open"] = rng.uniform(0.3, 0.6)
  return weights


def _worn(rng, glasses: float, dark: float, roundness: float, hat: float, kind: str) -> dict[str, float]:
  """Weights of the modes of glasses and hat, each 1 where it is worn; `kind` is one of `HATS`."""
  tall = rng.random()
  height = rng.uniform(0.0, 1.0)
  return {
    "glasses": glasses,
    "lenses": glasses * dark,
    "glasses_round": glasses * (roundness + rng.uniform(-0.2, 0.2)),
    "hat": hat,
    "hat_tall": hat * (height if kind != "cap" else 0.2 * tall),
    "hat_visor": hat * (kind == "cap"),
    "hat_brim": hat * (kind == "brim") * rng.uniform(0.6, 1.0),
  }


def _view(rng, outside: float) -> np.ndarray:
  """Pitch, yaw, roll and a small shift; the yaw lies in the training range, or `outside` of it."""
  yaw = conditions.draw_yaw(rng, YAW_LIMIT, outside)
  roll = np.deg2rad(np.clip(rng.normal(0, ROLL), -2 * ROLL, 2 * ROLL))
  pitch = np.deg2rad(rng.uniform(-PITCH, PITCH))
  shift = np.clip(rng.normal(0, 0.003, 2), -0.008, 0.008)
  return np.array([pitch, yaw, roll, *shift, 0.0], np.float32)


def draw(seed: int, split: str, index: int) -> tuple[dict, dict]:
  """(scene, labels) of one image: arrays for `render_scene.render`; labels of `People.LABELS` and FACTORS."""
  rng = sample.generator(seed, split, index)
  person = PEOPLE[split][index % len(PEOPLE[split])]
  weights, looks, habits = _person(seed, person)
  outside = conditions.beyond(rng, split)
  # Everything is drawn whether or not it is used: what one image wears changes nothing else.
  chance = {name: rng.random() < habits[name] for name in ("glasses", "hat", "makeup")}
  dark_glasses = rng.random() < 0.25
  kind = HATS[rng.integers(len(HATS))]
  look = dict(looks[int(chance["makeup"])])
  usual, man = look.pop("style"), look.pop("man")
  other = sample.STYLES[rng.choice(len(sample.STYLES), p=sample.STYLE_SHARES[int(man)])]
  style = usual if usual == "bald" or other == "bald" or rng.random() < 0.75 else other
  expression = EXPRESSIONS[rng.integers(len(EXPRESSIONS))]

  weights = weights | _expression(rng, expression) | sample.draw_hair(rng, style)
  if chance["hat"]:
    weights |= {"hair_top": 0.0, "hair_cap": min(weights["hair_cap"], 0.4)}
  glasses, hat = float(chance["glasses"]), float(chance["hat"])
  weights |= _worn(rng, glasses, float(dark_glasses), habits["round"], hat, kind)
  hat_colour = rng.uniform(0.04, 0.75, 3)
  look |= {
    "open": min(1.0, 6 * weights["mouth_open"] + 4 * weights["teeth_show"]),
    "teeth": rng.random() < 0.8 or expression == "happy",
    "lid": LIDS[expression] * rng.uniform(0.88, 1.08),
    "gaze": rng.normal(0, 0.016, 2) * [1, 0.6],
    "shirt": rng.uniform(0.05, 0.85, 3),
    "collar": rng.uniform(-1.14, -1.04),
    "style": style != "bald",
    "fringe": "fringe" in style,
    "long": "long" in style,
    "frame": np.clip(habits["frame"], 0.02, 0.8),
    "hat": hat_colour,
    "hat_band": np.clip(hat_colour * rng.uniform(0.3, 1.4), 0.03, 0.9),
  }
  look["hair_on"] = look.pop("style")
  look = {name: np.asarray(value, np.float32) for name, value in look.items()}
  view = _view(rng, float(outside["view_outside"]))
  scene = {
    "weights": np.array([weights[name] for name in shape_model().names], np.float32),
    **conditions.draw_light(rng, LIGHT_AXIS, LIGHT_LIMIT, float(outside["light_outside"])),
    "view": view,
    "background": sample.draw_background(rng),
    "look": look,
  }
  labels = sample.look_labels(look, style, man) | _attributes(look) | {
    "identity": person,
    "expression": EXPRESSIONS.index(expression),
    "smiling": int(weights["smile"] > 0.25),
    "mouth_open": int(look["open"] > 0.5),
    "glasses": int(glasses),
    "sunglasses": int(glasses * dark_glasses),
    "hat": int(hat),
    "makeup": int(chance["makeup"]),
  }
  return scene, labels | outside


def _attributes(look: dict[str, np.ndarray]) -> dict[str, int]:
  """The attributes of people alone that an appearance decides."""
  hair = look["hair"]
  return {
    "moustache": int(look["moustache"] > 0.25),
    "freckles": int(look["freckles"] > 0),
    "pale_skin": int(look["skin"].mean() > 0.7),
    "blond_hair": int(hair.mean() > 0.4 and hair[0] > hair[2] + 0.15),
  }


class People(builder.SceneBuilder):
  """Heads with identity, expression, attributes, glasses and hats.

  Depth, normals, albedo, light and parts are exact.
  """

  VERSION = tfds.core.Version(VERSION)
  SPLITS = sample.SPLITS
  LABELS = ("identity", "expression", *ATTRIBUTES)
  FACTORS = ("light_outside", "view_outside")
  CLASSES = {"expression": EXPRESSIONS}  # noqa: RUF012
  PARTS = people_paint.PARTS
  LANDMARKS = True
  YAW_LIMIT = YAW_LIMIT
  painter = staticmethod(people_paint.paint_person)

  def world(self):
    return shape_model(), functools.partial(draw, self.builder_config.scene_seed)
