"""Grids, strips and animations of clips: every picture is where it should be."""

import io

import numpy as np
from PIL import Image

from pdr_jax.plots import clips, style


def constant(values, side=4, channels=1):
  values = np.asarray(values, np.float32) / 255
  return np.broadcast_to(values[..., None, None, None], (*values.shape, side, side, channels))


def test_a_swap_grid_has_its_headers_at_the_edges():
  grid = clips.swap_grid(constant([10, 20]), constant([30, 40, 50]), constant([[1, 2, 3], [4, 5, 6]]))
  cell, gap, border = 64, clips.GAP, clips.BORDER
  assert grid.shape == (2 * cell + gap + cell + border, 3 * cell + 2 * gap + cell + border, 3)
  start = cell + border
  assert (grid[:cell, :cell] == 255).all()  # the corner
  for i in range(2):
    rows = slice(start + i * (cell + gap), start + i * (cell + gap) + cell)
    assert (grid[rows, :cell] == 10 * (i + 1)).all()
    for j in range(3):
      columns = slice(start + j * (cell + gap), start + j * (cell + gap) + cell)
      assert (grid[rows, columns] == 3 * i + j + 1).all() and (grid[:cell, columns] == 30 + 10 * j).all()
  with Image.open(io.BytesIO(clips.png(grid))) as image:
    np.testing.assert_array_equal(np.asarray(image), grid)


def test_an_animation_has_a_frame_for_each_caption_and_paper_after_a_panel_ends():
  long, short = constant([[1, 2, 3]]), constant([[100, 200]], channels=3)
  frames = clips.animation({"a": long, "b": short}, ["one", "two", "three"])
  assert frames.shape[0] == 3
  row = clips.CAPTION + 64 + clips.GAP
  for t in range(3):
    assert (frames[t, clips.CAPTION : clips.CAPTION + 64] == t + 1).all()
    below = frames[t, row + clips.CAPTION : row + clips.CAPTION + 64]
    assert (below == (100 * (t + 1) if t < 2 else 255)).all()
  with Image.open(io.BytesIO(clips.gif(frames))) as image:
    assert image.n_frames == 3 and image.size == frames.shape[2:0:-1]


def test_a_film_strip_shows_the_numbers_of_the_frames(tmp_path):
  strip = clips.film_strip({"truth": constant([1, 2]), "forecast": constant(range(9))}, [0, 4, 8], "title")
  assert [axes.get_title() for axes in strip.axes[:3]] == ["1", "5", "9"]
  assert [len(axes.images) for axes in strip.axes] == [1, 0, 0, 1, 1, 1]
  style.save(strip, str(tmp_path / "strip.png"))
  assert (tmp_path / "strip.png").stat().st_size > 1000
