"""Faces of the ICT Face Model as an embedded world: scanned shapes, procedural paint.

They stand in for Unsup3D's Basel test.
"""

import functools
import os
import zlib

import numpy as np
import tensorflow_datasets as tfds

from pdr_jax.data.scenes import builder, head_mesh, ict_mesh, sample

VERSION = "1.1.0"  # raise it whenever a drawn or rendered pixel changes: prepared copies are found by it
# How often each expression (both sides together) is seen, and how strong at most; the others: OTHERS.
OFTEN = {
  "mouthSmile": (0.40, 0.9),
  "jawOpen": (0.30, 0.6),
  "browInnerUp": (0.20, 0.8),
  "browOuterUp": (0.20, 0.8),
  "browDown": (0.20, 0.8),
  "eyeBlink": (0.08, 0.6),
  "mouthFrown": (0.10, 0.7),
  "mouthPucker": (0.08, 0.7),
  "mouthFunnel": (0.06, 0.5),
  "jawLeft": (0.05, 0.4),
  "jawRight": (0.05, 0.4),
  "mouthLeft": (0.05, 0.5),
  "mouthRight": (0.05, 0.5),
  "mouthClose": (0.0, 0.0),
  "PupilDilate": (0.0, 0.0),
}
OTHERS = (0.07, 0.5)


@functools.lru_cache(maxsize=1)
def shape_model(path: str) -> head_mesh.ShapeModel:
  """The shape model at a path (a folder of the release takes some seconds). Raises UserError."""
  return ict_mesh.make_face(ict_mesh.read(path))


def _both_sides(name: str) -> str:
  return name.removesuffix("_L").removesuffix("_R")


def draw(model: head_mesh.ShapeModel, seed: int, split: str, index: int) -> tuple[dict, dict]:
  """(scene, labels) of one image.

  Identity modes are normal; expressions are sparse in [0, 1] and nearly the same on both sides.
  """
  rng = sample.generator(seed, split, index)
  look = sample.draw_look(rng)
  style, man = look.pop("style"), look.pop("man")
  hair = sample.draw_hair(rng, style)
  names = list(
    dict.fromkeys(_both_sides(name) for name in model.names if not name.startswith(("identity", "hair_")))
  )
  strength = {}
  for name in names:
    share, most = OFTEN.get(name, OTHERS)
    strength[name] = most * rng.beta(1.6, 1.6) * (rng.random() < share)
  lean = rng.normal(0, 0.06)
  identity = np.clip(rng.normal(size=len(model.names)), -2.5, 2.5)

  def weight(k, name):
    if name.startswith("identity"):
      return identity[k]
    if name in hair:
      return hair[name]
    return strength[_both_sides(name)] * (
      1 + (lean if name.endswith("_L") else -lean if name.endswith("_R") else 0.0)
    )

  strongest = max(names, key=strength.get, default=None)

  def strong(name, least):
    return int(strength.get(name, 0.0) > least)

  labels = {
    "identity": index,
    "expression": 1 + names.index(strongest) if strongest and strength[strongest] > 0.25 else 0,
    "smiling": strong("mouthSmile", 0.25),
    "mouth_open": strong("jawOpen", 0.15),
    **sample.look_labels(look, style, man),
  }
  return sample.draw_scene(rng, [weight(k, name) for k, name in enumerate(model.names)], look), labels


class IctFaces(builder.SceneBuilder):
  """Faces of the ICT Face Model with procedural paint, light and view.

  Depth, normals, albedo and light are exact.
  """

  VERSION = tfds.core.Version(VERSION)
  LABELS = sample.LABELS
  YAW_LIMIT = 40.0  # that of `sample.VIEW_LIMIT`

  @staticmethod
  def source(path: str) -> tuple[str, str]:
    """(absolute path, tag for the folder's name: the shape's fingerprint).

    Raises UserError where there is no such model.
    """
    model = shape_model(os.path.abspath(os.path.expanduser(path)) if path else "")
    return os.path.abspath(
      os.path.expanduser(path)
    ), f"_model{zlib.crc32(model.modes.tobytes(), zlib.crc32(model.vertices.tobytes())):08x}"

  def world(self):
    model = shape_model(self.builder_config.path)
    return model, functools.partial(draw, model, self.builder_config.scene_seed)
