"""Figures: the right picture in the right cell, the right sign of light and turn, files whole."""

import os

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import image

from pdr_jax.methods import Method
from pdr_jax.render import lighting
from pdr_jax.report import figures

SIDE, COUNT = 16, 3


def spy(seen):
  """A method that notes the lights and views that it is asked for, and returns pictures of one colour each."""
  plain = lambda value: jnp.full((COUNT, SIDE, SIDE, 3), value)

  def decompose(params, images):
    flat = jnp.broadcast_to(jnp.linspace(0.9, 1.1, SIDE)[None, None], (COUNT, SIDE, SIDE))
    normal = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), (COUNT, SIDE, SIDE, 3))
    pictures = dict(albedo=plain(0.5), normal=normal, canonical=plain(0.1), reconstruction=plain(-1.0))
    maps = dict(depth=flat, shading=flat, confidence=flat, mask=flat)
    return pictures | maps | dict(light=jnp.zeros((COUNT, 9)), view=jnp.zeros((COUNT, 6)))

  def render(parts, light=None, view=None):
    seen.append((light, view))
    return {"image": plain(0.0 if light is None else 1.0)}

  return Method(*[None] * 5, decompose=decompose, render=render)


def columns_and_seen():
  seen = []
  with jax.disable_jit():
    columns = figures.decompose(spy(seen), {}, np.zeros((COUNT, SIDE, SIDE, 3), np.float32))
  return columns, seen


def test_every_column_is_there_and_lights_and_turns_have_the_signs_of_the_conventions():
  columns, seen = columns_and_seen()
  assert set(columns) == set(figures.COLUMNS)
  lights, views = [light for light, _ in seen if light is not None], [view for _, view in seen if view is not None]
  # A normal that points into the scene and to the right belongs to a surface that faces left: lit from the left it is brighter.
  normal = jnp.array([0.6, 0.0, 0.8]).reshape(1, 1, 1, 3)
  left, right = (float(lighting.sh_shading(light[:1], normal)[0, 0, 0]) for light in lights)
  assert left > right + 0.2
  assert [float(view[0, 1]) > 0 for view in views] == [True, False, False] and float(views[0][0, 1]) == -float(views[2][0, 1])


def test_sheet_is_a_labelled_grid_of_the_pictures(tmp_path):
  columns, _ = columns_and_seen()
  sheet = figures.decomposition_sheet(columns, title="step 5")
  titles = [axis.get_title() for axis in sheet.axes[: len(columns)]]
  assert titles == [label for label, _ in figures.COLUMNS.values()] and len(sheet.axes) == COUNT * len(columns)
  path = str(tmp_path / "figures" / "a.png")
  figures.save(sheet, path)
  assert os.listdir(tmp_path / "figures") == ["a.png"]
  pixels = image.imread(path)[..., :3]
  middle = lambda row, column: pixels[int((1 - sheet.axes[row * 13 + column].get_position().intervaly.mean()) * len(pixels)),
                                      int(sheet.axes[row * 13 + column].get_position().intervalx.mean() * pixels.shape[1])]  # fmt: skip
  np.testing.assert_allclose(middle(1, 0), 0.5, atol=0.01)  # input, 0 in [-1, 1]
  np.testing.assert_allclose(middle(2, 1), 0.0, atol=0.01)  # reconstruction, -1
  np.testing.assert_allclose(middle(2, 3), 0.75, atol=0.01)  # albedo, 0.5
  np.testing.assert_allclose(middle(0, 5), [0.5, 0.5, 1.0], atol=0.01)  # a normal that faces the camera


def test_sheet_takes_what_the_method_has():
  sheet = figures.decomposition_sheet({"input": np.zeros((2, 4, 4, 3)), "reconstruction": np.zeros((2, 4, 4, 3))})
  assert len(sheet.axes) == 4


def test_training_curves_have_a_panel_for_each_metric():
  records = [{"step": 5, "train/loss": 2.0}, {"step": 10, "train/loss": 1.0, "speed/images_per_second": 9.0}, {"step": 10, "val/side": 0.1}]
  figure = figures.training_curves(records)
  panels = {axis.get_title(): axis.lines[0].get_xydata().tolist() for axis in figure.axes if axis.get_title()}
  assert list(panels) == ["train/loss", "val/side", "speed/images_per_second"]
  assert panels["train/loss"] == [[5, 2.0], [10, 1.0]]
  figures.training_curves([])
