"""Clips as pictures: grids of swaps, film strips, and animations as GIF.

Pictures are float in [0, 1] or uint8, grey or RGB, `[..., S, S, C]`; what comes out is uint8 RGB.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Shaped, UInt8
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from pdr_jax.plots import style

CELL = 64  # pixels of a picture, at least
GAP = 2  # between pictures
BORDER = 8  # between headers and the grid
PAPER = 255
CAPTION = 14  # pixels of a line of text
RATE = 12  # frames a second


def to_rgb(pictures: Shaped[np.ndarray, "*N S S C"]) -> UInt8[np.ndarray, "*N S S 3"]:
  """uint8 RGB; floats outside of [0, 1] are cut off."""
  values = np.asarray(pictures)
  if values.dtype != np.uint8:
    values = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
  return np.repeat(values, 3, axis=-1) if values.shape[-1] == 1 else values


def enlarged(pictures: UInt8[np.ndarray, "*N S S 3"]) -> UInt8[np.ndarray, "*N _ _ 3"]:
  """Each pixel several times, so that a picture has `CELL` pixels at least."""
  times = -(-CELL // pictures.shape[-2])
  return pictures.repeat(times, axis=-3).repeat(times, axis=-2)


def tiled(pictures: Shaped[np.ndarray, "R C S S D"]) -> UInt8[np.ndarray, "H W 3"]:
  """Rows and columns of pictures, with gaps between them."""
  cells = enlarged(to_rgb(pictures))
  edges = ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0))
  padded = np.pad(cells, edges, constant_values=PAPER)
  rows, columns, height, width, _ = padded.shape
  whole = padded.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
  return whole[:-GAP, :-GAP]


def swap_grid(
  contents: Shaped[np.ndarray, "R S S D"],
  poses: Shaped[np.ndarray, "C S S D"],
  cells: Shaped[np.ndarray, "R C S S D"],
) -> UInt8[np.ndarray, "H W 3"]:
  """The content of each row in the pose of each column, with both as headers at the edges."""
  grid, left, top = tiled(cells), tiled(contents[:, None]), tiled(poses[None])
  side = left.shape[1] + BORDER
  sheet = np.full((side + grid.shape[0], side + grid.shape[1], 3), PAPER, np.uint8)
  sheet[side:, : left.shape[1]] = left
  sheet[: top.shape[0], side:] = top
  sheet[side:, side:] = grid
  return sheet


def film_strip(
  rows: Mapping[str, Shaped[np.ndarray, "T S S D"]], steps: Sequence[int], title: str = ""
) -> Figure:
  """One labelled row for each clip, the chosen frames from left to right with their numbers above.

  A row may be shorter than the others: what it does not have stays empty.
  """
  cell, top = 0.62, 0.5 if title else 0.28  # inches
  left = max(1.1, 0.2 + 0.065 * max(map(len, rows)))
  width, height = left + cell * len(steps), top + cell * len(rows)
  figure = style.figure(width, height, dpi=140)
  axes = figure.subplots(len(rows), len(steps), squeeze=False)
  for row, (name, clip) in enumerate(rows.items()):
    for column, step in enumerate(steps):
      place = axes[row, column]
      place.set_axis_off()
      if step < len(clip):
        place.imshow(to_rgb(clip[step]), interpolation="nearest")
      if row == 0:
        place.set_title(str(step + 1), fontsize=7, pad=2)
    bottom = (height - top - cell * (row + 0.5)) / height
    figure.text((left - 0.08) / width, bottom, name, ha="right", va="center", fontsize=8)
  figure.subplots_adjust(
      left=left / width, right=0.998, bottom=0.005, top=1 - top / height, wspace=0.04, hspace=0.04
  )
  figure.suptitle(title, fontsize=9, y=0.995)
  return figure


def animation(
  panels: Mapping[str, Shaped[np.ndarray, "N T S S D"]], captions: Sequence[str]
) -> UInt8[np.ndarray, "T H W 3"]:
  """The frames of an animation: a row for each panel, its N clips side by side, and a caption of each frame.

  A panel that is shorter than the captions is paper after its end.
  """
  frames = []
  for t, caption in enumerate(captions):
    rows = []
    for name, clips in panels.items():
      clips = np.asarray(clips)
      if t < clips.shape[1]:
        picture = tiled(clips[:, t][None])
      else:
        picture = np.full_like(tiled(clips[:, 0][None]), PAPER)
      rows.append(_captioned(picture, f"{name}  {caption}" if caption else name))
    frames.append(np.concatenate(rows))
  return np.stack(frames)


def _captioned(picture: UInt8[np.ndarray, "H W 3"], text: str) -> UInt8[np.ndarray, "_ W 3"]:
  """The picture with a line of text above it."""
  line = Image.new("RGB", (picture.shape[1], CAPTION), (PAPER,) * 3)
  ImageDraw.Draw(line).text((2, 1), text, fill=(0, 0, 0))
  return np.concatenate([np.asarray(line), picture, np.full((GAP, picture.shape[1], 3), PAPER, np.uint8)])


def gif(frames: UInt8[np.ndarray, "T H W 3"], rate: float = RATE) -> bytes:
  """An animated GIF that starts again at its end."""
  images = [Image.fromarray(frame) for frame in frames]
  buffer = io.BytesIO()
  images[0].save(
    buffer, "GIF", save_all=True, append_images=images[1:], duration=round(1000 / rate), loop=0
  )
  return buffer.getvalue()


def png(picture: UInt8[np.ndarray, "H W 3"]) -> bytes:
  """A PNG file."""
  buffer = io.BytesIO()
  Image.fromarray(picture).save(buffer, "PNG")
  return buffer.getvalue()
