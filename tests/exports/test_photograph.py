"""A photograph taken apart at its own resolution: an analytic scene, from which every truth can be drawn."""

import numpy as np
import pytest
from support.unwrap_scenes import FAR, NEAR, SIDE, VIEW, ball, psnr

from pdr_jax.exports import photograph
from pdr_jax.render import depth_mesh
from pdr_jax.render.camera import pinhole

PIXELS = 4 * SIDE
CAMERA = {"fov": 10.0, "near": NEAR, "far": FAR}
OTHER = np.array([-0.1, 0.25, 0.0, 0.0, 0.0, 0.0])
RIM = 6  # pixels at which the enlarged maps are renormalised


@pytest.fixture(scope="module")
def unwrapped():
  """The maps of a ball that is seen turned, with the picture that they come from."""
  picture, depth, shading, albedo = ball(SIDE, PIXELS, VIEW)
  normal = np.asarray(depth_mesh.normals(np.float32(depth[None]), pinhole(SIDE)))
  parts = {"depth": depth, "view": VIEW, "shading": shading, "albedo": 0 * albedo}
  parts = {name: np.float32(value)[None] for name, value in parts.items()} | {"normal": normal}
  return photograph.unwrapped(np.float32(picture), parts, CAMERA), picture


def inner(mask):
  inside = np.zeros_like(mask)
  inside[RIM:-RIM, RIM:-RIM] = True
  return mask & inside


def at_views(maps, views):
  """The lit picture at each view, and which of its pixels show the inner part of the canonical maps."""
  views = np.float32(views)
  rim = inner(np.ones(maps.depth.shape[1:], bool))[None, ..., None].astype(np.float32)
  lit, inside = (
    list(photograph.seen(shown, maps.depth, views, CAMERA, SIDE)) for shown in (photograph.lit(maps), rim)
  )
  pairs = zip(lit, inside, strict=True)
  return [(image, inner(mask & (share[..., 0] > 0.999))) for (image, mask), (share, _) in pairs]


def test_the_albedo_is_the_photograph_s_without_light(unwrapped):
  maps, picture = unwrapped
  *_, truth = ball(PIXELS, PIXELS, VIEW)
  visible = inner(maps.visibility[0] > 0)
  assert visible.mean() > 0.4
  assert psnr(maps.albedo[0], truth, visible) > 33  # of values in [-1, 1]
  assert psnr(picture, truth, visible) < 20  # light and view matter
  unseen = (maps.visibility[0] == 0) & np.flip(maps.visibility[0] == 0, 1)
  np.testing.assert_allclose(maps.albedo[0][unseen], 0, atol=1e-5)  # the model's


def test_lit_and_turned_back_it_is_the_photograph(unwrapped):
  maps, picture = unwrapped
  ((again, shown),) = at_views(maps, VIEW[None])
  assert shown.mean() > 0.3 and psnr(again, picture, shown) > 33
  assert psnr(np.flip(again, 1), picture, shown & np.flip(shown, 1)) < 15


def test_from_another_view_it_is_what_is_seen_there(unwrapped):
  """Light lives in the canonical frame: it turns with the ball."""
  maps, _ = unwrapped
  views = [OTHER, 0 * OTHER]
  for (image, shown), view in zip(at_views(maps, views), views, strict=True):
    truth, *_ = ball(SIDE, PIXELS, view)
    close = np.abs(image - truth).max(-1) < 0.1
    assert shown.mean() > 0.3 and close[shown].mean() > 0.6  # the rest was outside of the picture before


def test_relit_from_both_sides(unwrapped):
  """Band 1 is y, z, x of where light travels: from the left, what faces left is brighter."""
  maps, _ = unwrapped
  lights = np.zeros((2, 9), np.float32)
  lights[:, 0], lights[:, 3] = 2.0, [1.0, -1.0]
  left, right = photograph.lit(maps, lights).mean(axis=-1)
  middle = PIXELS // 2
  assert (left - right)[:, RIM:middle].mean() > 0.05 and (left - right)[:, middle:-RIM].mean() < -0.05
  coloured = photograph.lit(maps, np.repeat(lights[..., None], 3, -1))
  np.testing.assert_allclose(coloured.mean(axis=-1)[0], left, atol=1e-5)


def test_reduced_maps_are_means(unwrapped):
  maps, _ = unwrapped
  small = photograph.reduced(maps, PIXELS // 2)
  blocks = maps.depth[0].reshape(PIXELS // 2, 2, PIXELS // 2, 2).mean((1, 3))
  np.testing.assert_allclose(small.depth[0][2:-2, 2:-2], blocks[2:-2, 2:-2], atol=1e-3)
  np.testing.assert_allclose(np.linalg.norm(small.normal, axis=-1), 1, atol=1e-5)
  assert photograph.reduced(maps, PIXELS) is maps
