"""The embedded world: heads that the program sculpts, paints and lights itself, from a seed.

Nothing is read from disk.
"""

import functools

import numpy as np
import tensorflow_datasets as tfds

from pdr_jax.data.scenes import builder, head_mesh, sample

VERSION = "1.2.0"  # raise it whenever a drawn or rendered pixel changes: prepared copies are found by it

@functools.cache
def shape_model() -> head_mesh.ShapeModel:
  """The head's shape model (computed once per process, about a second)."""
  return head_mesh.make_head()


OFTEN = {
  "smile": 0.5,
  "mouth_open": 0.3,
  "brow_up": 0.3,
  "brow_down": 0.2,
  "frown": 0.12,
  "pucker": 0.12,
  "teeth_show": 0.0,
}
OTHERS = 0.15  # how often the expressions that OFTEN does not name are seen
MALE = {
  "jaw_width": 0.5,
  "brow_ridge": 0.7,
  "chin_forward": 0.3,
  "lips_full": -0.4,
  "nose_width": 0.3,
  "eye_size": -0.4,
}


def draw(seed: int, split: str, index: int) -> tuple[dict, dict]:
  """(scene, labels) of one image: arrays for `render_scene.render`, and the ints of `sample.LABELS`."""
  rng = sample.generator(seed, split, index)
  look = sample.draw_look(rng)
  style, man = look.pop("style"), look.pop("man")
  weights = {name: 0.75 * np.clip(rng.normal(), -2.2, 2.2) for name in head_mesh.IDENTITY}
  for name, shift in MALE.items():
    weights[name] += shift if man else -shift
  for name in head_mesh.EXPRESSION:
    weights[name] = rng.beta(1.6, 1.6) * (rng.random() < OFTEN.get(name, OTHERS))
  if weights["smile"] > 0:
    weights["frown"] = weights["pucker"] = 0.0
    weights["teeth_show"] = weights["smile"] * (rng.random() < 0.5)
  if weights["mouth_open"] > 0:
    weights["cheek_puff"] = 0.0
  weights |= sample.draw_hair(rng, style)
  look["open"] = np.float32(min(1.0, 6 * weights["mouth_open"] + 4 * weights["teeth_show"]))
  strongest = max(head_mesh.EXPRESSION, key=lambda n: weights[n])
  labels = {
    "identity": index,
    "expression": 1 + head_mesh.EXPRESSION.index(strongest) if weights[strongest] > 0.25 else 0,
    "smiling": int(weights["smile"] > 0.25),
    "mouth_open": int(weights["mouth_open"] > 0.25),
    **sample.look_labels(look, style, man),
  }
  return sample.draw_scene(rng, [weights[name] for name in shape_model().names], look), labels


class Heads(builder.SceneBuilder):
  """Synthetic heads: procedural shape, paint, light and view, with exact depth, normals, albedo and light."""

  VERSION = tfds.core.Version(VERSION)
  LABELS = sample.LABELS
  LANDMARKS = True
  YAW_LIMIT = 40.0  # that of `sample.VIEW_LIMIT`

  def world(self):
    return shape_model(), functools.partial(draw, self.builder_config.scene_seed)
