"""A folder of small pictures whose colour tells their class, with labels."""

import csv

import numpy as np
from PIL import Image


def write(folder, count: int = 60, side: int = 16, columns=None) -> None:
  """Pictures 00.png ...; `columns(i)` gives the labels of the i-th, by default its colour, and who it is.

  Each pixel is drawn twice as large, so that half the side shows the same noise.
  """
  folder.mkdir(exist_ok=True)
  random = np.random.default_rng(0)
  rows = []
  for i in range(count):
    pixels = random.integers(0, 80, (side // 2, side // 2, 3)).astype(np.uint8)
    pixels = pixels.repeat(2, axis=0).repeat(2, axis=1)
    pixels[..., i % 3] += 150
    Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    rows.append({"file": f"{i:02d}.png", **(columns or _colours)(i)})
  with open(folder / "labels.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)


def _colours(i: int) -> dict:
  colour = ("red", "green", "blue")[i % 3]
  return {"colour": colour, "reddish": int(i % 3 == 0), "identity": i % 6}
