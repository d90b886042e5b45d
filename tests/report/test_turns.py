"""Viewpoint strips of a method that turns its pictures: their range, and the section of the page."""

import numpy as np

from pdr_jax.methods.contract import Method
from pdr_jax.report import page
from pdr_jax.report.pictures import ANGLES, TURNS, Pictures, turns, volume_turns


def test_pictures_turn_over_the_range_that_is_seen():
  def turn(variables, images, angles):
    return images + angles[:, None, None, :]  # a picture whose channels are its angles

  method = Method(init=None, update=None, validate=None, encode=None, turn=turn)
  seen = np.array([[-0.5, 0.1, 0.2], [0.7, 0.1, -0.2], [0.0, 0.1, 0.0]], np.float32)
  turned = turns(method, {}, np.zeros((2, 4, 4, 3), np.float32), seen)
  assert set(turned) == {"azimuth", "tilt"}  # elevations do not differ
  assert turned["azimuth"].shape == (2, TURNS, 4, 4, 3)
  np.testing.assert_allclose(turned["azimuth"][1, :, 0, 0, 0], np.linspace(-0.5, 0.7, TURNS), atol=1e-6)
  np.testing.assert_allclose(turned["azimuth"][1, :, 0, 0, 2], -0.2, atol=1e-6)


def test_volumes_turn_once_around_from_their_own_azimuth():
  voxels = np.zeros((2, 16, 16, 16), np.float32)
  voxels[:, 7:9, 4:12, 2:14] = 1  # a plank: wide from the front, thin from the side
  turned = volume_turns(voxels, np.float32([0, np.pi / 2]))["azimuth"][..., 0]
  assert turned.shape[:2] == (2, TURNS) and -1 <= turned.min() < turned.max() <= 1
  width = (turned.min(axis=2) < 0.5).sum(axis=-1)  # columns in which the surface is seen, on white
  quarter = TURNS // 4
  assert width[0, 0] > 3 * width[0, quarter]
  np.testing.assert_allclose(width[0, ::quarter], np.roll(width[1, ::quarter], 1), atol=1)
  assert np.ptp(width[0, [0, 2 * quarter]]) <= 1


def test_each_picture_is_a_strip_to_scroll():
  turned = {name: np.zeros((2, 3, 4, 4, 3), np.float32) for name in ANGLES}
  shown = Pictures(5, {"input": np.zeros((2, 4, 4, 3))}, {}, turned, {}, "", [], 0.0, {}, 10.0)
  document = page.document([], [], {"run": shown})
  assert document.count('class="strip"') == 6 and document.count('alt="azimuth"') == 6
  assert "run: other viewpoints" in document
