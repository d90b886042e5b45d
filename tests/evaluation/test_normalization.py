"""The steps of normalising, one left out each: by hand for a flat scene seen from the front."""

import jax
import numpy as np
import pytest
from support.unwrap_scenes import pictures

from pdr_jax.evaluation.tasks import normalization
from pdr_jax.methods import Camera

SIDE = 15
CLOSE = 5e-4  # positions of 1e-5 pixels, slopes of 1 a pixel, divided by a shading of 0.4


@pytest.fixture(scope="module")
def variants():
  """What each variant makes of a picture, with the picture and its shading."""
  image, shading = pictures(SIDE), 0.7 + 0.3 * pictures(SIDE, 5)[..., 0]
  parts = {
    "depth": np.ones((1, SIDE, SIDE)), "depth_at_view": np.ones((1, SIDE, SIDE)), "view": np.zeros((1, 6)),
    "shading": shading, "albedo": 0 * image, "canonical": image, "mask": np.ones((1, SIDE, SIDE)),
  }
  parts = {name: np.float32(value) for name, value in parts.items()}
  camera = Camera(10.0, 0.9, 1.1)

  def apply(image, parts):
    return {variant.__name__: variant(image, parts, camera) for variant in normalization.VARIANTS}

  return jax.jit(apply)(np.float32(image), parts), image, shading[..., None]


def test_each_variant_leaves_one_step_out(variants):
  made, image, shading = variants
  unlit = np.clip((image / 2 + 0.5) / shading, 0, 2)
  expected = {
    "pixels": image,
    "pose_left_in": unlit,
    "light_left_in": (image + np.flip(image, 2)) / 4 + 0.5,
    "mirror_where_unseen": unlit,  # all of it is seen
    "both_halves": (unlit + np.flip(unlit, 2)) / 2,
  }
  assert made.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_allclose(made[name], value, atol=CLOSE, err_msg=name)
