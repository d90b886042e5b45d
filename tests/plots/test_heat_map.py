"""The factor matrix and the robustness curves as pictures: every number is where it belongs."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from pdr_jax.plots import curves, heat_map

MATRIX = {
  "depth": {"depth": 0.91, "light": 0.12},
  "light": {"depth": 0.23, "light": 0.84},
  "all": {"depth": 0.95},
}


def test_numbers_and_frames_stand_in_their_cells():
  figure = heat_map.heat_map(MATRIX, "title", label="R2")
  axis = figure.axes[0]
  actual = {tuple(map(round, text.get_position())): text.get_text() for text in axis.texts}
  # (column, row); all lacks light.
  assert actual == {(0, 0): "0.91", (1, 0): "0.12", (0, 1): "0.23", (1, 1): "0.84", (0, 2): "0.95"}
  assert [label.get_text() for label in axis.get_xticklabels()] == ["depth", "light"]
  frames = [
    (round(patch.get_x() + patch.get_width() / 2), round(patch.get_y() + patch.get_height() / 2))
    for patch in axis.patches
  ]
  assert sorted(frames) == [(0, 0), (1, 1)]
  shown = np.ma.filled(axis.images[0].get_array().astype(float), np.nan)
  np.testing.assert_allclose(shown, [[0.91, 0.12], [0.23, 0.84], [0.95, np.nan]])


def test_curves_are_sorted_and_have_their_deviations():
  lines = {"pdr": [(10.0, 0.7, 0.02), (0.0, 0.9, 0.01)], "vae": [(0.0, 0.6, 0.0), (10.0, 0.5, 0.0)]}
  figure = curves.curves({"attributes": lines}, across="degrees", upwards="accuracy")
  line = figure.axes[0].containers[0]
  np.testing.assert_allclose(line.lines[0].get_xydata(), [[0, 0.9], [10, 0.7]])
  spans = [np.ptp(segment[:, 1]) for segment in line.lines[2][0].get_segments()]
  assert spans == pytest.approx([0.02, 0.04])
  assert [text.get_text() for text in figure.legends[0].texts] == ["pdr", "vae"]


def test_a_method_looks_the_same_in_every_panel_and_the_legend_has_them_all():
  """The first panel lacks one that stands first in the second."""
  line = [(0.0, 0.5, 0.1), (1.0, 0.6, 0.1)]
  panels = {"age": {"pdr": line, "vae": line}, "mood": {"mae": line, "vae": line, "pdr": line}}
  figure = curves.curves(panels, across="degrees", upwards="accuracy")

  def looks(drawn):
    return to_hex(drawn.get_color()), drawn.get_marker()

  first, second = ([looks(bars.lines[0]) for bars in axis.containers] for axis in figure.axes)
  pdr, vae = first
  mae = second[0]
  assert second == [mae, vae, pdr] and len({pdr, vae, mae}) == 3
  for bars in figure.axes[1].containers:  # the bars have their line's colour
    assert to_hex(bars.lines[2][0].get_color()[0]) == looks(bars.lines[0])[0]
  legend = figure.legends[0]
  shown = [looks(drawn) for drawn in legend.findobj(Line2D) if drawn.get_marker() in curves.MARKERS]
  assert [text.get_text() for text in legend.texts] == ["pdr", "vae", "mae"] and shown == [pdr, vae, mae]
