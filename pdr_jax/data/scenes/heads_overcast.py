"""The embedded world `heads_overcast`: the heads of `heads` under an overcast sky.

Light comes from everywhere, and hardly anything of it from one side: pictures differ in who is seen from
where, and not in how they are lit. Everything else is as in `heads`.
"""

import functools

import numpy as np
import tensorflow_datasets as tfds

from pdr_jax.data.scenes import heads

VERSION = heads.VERSION
LEFT = 0.1  # of the lamps' strength


def draw(seed: int, split: str, index: int) -> tuple[dict, dict]:
  """(scene, labels) of one image."""
  scene, labels = heads.draw(seed, split, index)
  lamps = LEFT * scene["diffuse"]
  # As bright as before where the first lamp is met frontally.
  ambient = np.float32(scene["ambient"] + scene["diffuse"][0] - lamps[0])
  return scene | {"ambient": ambient, "diffuse": lamps}, labels


class HeadsOvercast(heads.Heads):
  """Synthetic heads in light from everywhere."""

  VERSION = tfds.core.Version(VERSION)

  def world(self):
    return heads.shape_model(), functools.partial(draw, self.builder_config.scene_seed)
