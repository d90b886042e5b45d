"""Sheets: the right picture in the right cell, on one scale; files whole."""

import os

import numpy as np
from matplotlib import image

from pdr_jax.plots import sheets, style, training

SIDE, COUNT = 16, 3


def columns() -> dict[str, np.ndarray]:
  """All that PDR shows: pictures of one value each, and maps that rise."""
  pictures = dict.fromkeys(("lit_left", "lit_right", "turned_left", "frontal", "turned_right"), 0.0)
  pictures |= {"input": 0.0, "reconstruction": -1.0, "albedo": 0.5, "canonical": 0.1}
  shown = {name: np.full((COUNT, SIDE, SIDE, 3), value, np.float32) for name, value in pictures.items()}
  rising = np.broadcast_to(np.linspace(0.9, 1.1, SIDE, dtype=np.float32), (COUNT, SIDE, SIDE))
  normal = np.broadcast_to(np.float32([0, 0, 1]), (COUNT, SIDE, SIDE, 3))
  return shown | {"depth": rising, "shading": rising, "confidence": rising, "normal": normal}


def test_sheet_is_a_labelled_grid_of_the_pictures(tmp_path):
  sheet = sheets.decomposition_sheet(columns(), title="step 5")
  titles = [axis.get_title() for axis in sheet.axes[: len(sheets.COLUMNS)]]
  assert titles == [column.title for column in sheets.COLUMNS.values()]
  assert len(sheet.axes) == COUNT * len(sheets.COLUMNS)
  path = str(tmp_path / "figures" / "a.png")
  style.save(sheet, path)
  assert os.listdir(tmp_path / "figures") == ["a.png"]
  pixels = image.imread(path)[..., :3]

  def middle(row, column):
    place = sheet.axes[row * len(sheets.COLUMNS) + column].get_position()
    down, right = 1 - place.intervaly.mean(), place.intervalx.mean()
    return pixels[int(down * len(pixels)), int(right * pixels.shape[1])]

  # One step of eight bits and a half.
  np.testing.assert_allclose(middle(1, 0), 0.5, atol=0.006)  # input, 0 in [-1, 1]
  np.testing.assert_allclose(middle(2, 1), 0.0, atol=0.006)  # reconstruction, -1
  np.testing.assert_allclose(middle(2, 3), 0.75, atol=0.006)  # albedo, 0.5
  np.testing.assert_allclose(middle(0, 5), [0.5, 0.5, 1.0], atol=0.006)  # a normal that faces the camera


def test_sheet_takes_what_the_method_has_grey_and_its_own_too():
  shown = {
    "sample": np.zeros((2, 4, 4, 1)),
    "reconstruction": np.zeros((2, 4, 4, 3)),
    "attention": np.ones((2, 4, 4)),
  }
  sheet = sheets.decomposition_sheet(shown)
  assert [axis.get_title() for axis in sheet.axes[:3]] == ["reconstruction", "sample", "attention"]
  assert len(sheet.axes) == 6


def test_maps_share_one_scale_and_pictures_keep_theirs():
  depth = np.stack([np.full((4, 4), 1.0), np.full((4, 4), 2.0)])
  shown = sheets.coloured("depth", depth)
  assert shown.shape == (2, 4, 4, 3) and not np.allclose(shown[0], shown[1], atol=0.1)
  grey = sheets.coloured("input", np.linspace(-1, 1, 16).reshape(1, 4, 4, 1))
  np.testing.assert_allclose(
    grey[0, ..., 0].ravel(), np.linspace(0, 1, 16), atol=1e-6
  )  # float32 of at most 1


def test_training_curves_have_a_panel_for_each_metric():
  records = [
    {"step": 5, "train/loss": 2.0},
    {"step": 10, "train/loss": 1.0, "speed/images_per_second": 9.0},
    {"step": 10, "val/side": 0.1},
  ]
  figure = training.training_curves(records)
  panels = {axis.get_title(): axis.lines[0].get_xydata().tolist() for axis in figure.axes if axis.get_title()}
  assert list(panels) == ["train/loss", "val/side", "speed/images_per_second"]
  assert panels["train/loss"] == [[5, 2.0], [10, 1.0]]
  training.training_curves([])


def test_a_comparison_has_a_line_for_each_run_and_baseline():
  runs = {
    "a": [{"step": 1, "val/side": 2.0, "train/loss": 9.0}],
    "b": [{"step": 1, "val/side": 3.0}, {"step": 2, "val/side": 1.0}],
  }
  figure = training.comparison(runs, "val/", {"flat": {"val/side": 2.5}})
  axis = figure.axes[0]
  assert axis.get_title() == "side" and [line.get_ydata()[0] for line in axis.lines] == [2.0, 3.0, 2.5]
  assert [text.get_text() for text in figure.legends[0].texts] == ["a", "b", "flat"]


def test_an_svg_takes_the_ink_of_its_page_and_its_own_identifiers():
  plot = style.Plot("a b", "title", lambda: training.training_curves([{"step": 1, "train/x": 1.0}]))
  text = style.svg(plot)
  assert text.startswith("<svg") and style.PAGE_INK not in text and "currentColor" in text
  assert 'id="a_b-' in text and 'href="#a_b-' in text
