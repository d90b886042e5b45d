"""FER2013: grey faces of 48 x 48 with seven emotions."""

import csv
import io
import os

import numpy as np

from pdr_jax.data import folder_sets, image_folder

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # the numbers of FER2013
FER_USAGE = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}


class _Pixels:
  """Grey images that lie as numbers in the cells of a table, `{name: [48, 48] uint8}`."""

  def __init__(self, where: str, pixels: dict[str, np.ndarray]):
    self.where, self.names, self._pixels = where, list(pixels), pixels

  def open(self, name: str) -> io.BytesIO:
    grey = self._pixels[name]
    return io.BytesIO(b"P5 %d %d 255\n" % grey.shape[::-1] + grey.tobytes())


def read(path: str) -> folder_sets.Layout:
  """`fer2013.csv` (emotion, pixels, Usage), or folders `train/EMOTION`, `validation/EMOTION` and
  `test/EMOTION`.
  """
  table = path if path.endswith(".csv") else os.path.join(path, "fer2013.csv")
  if not os.path.isfile(table):
    store = image_folder.open_store(path)
    parts = [name.split("/")[-3:] for name in store.names]
    found = folder_sets.columns_of(
      {"emotion": [EMOTIONS.index(part[1]) for part in parts]}, {"emotion": EMOTIONS}
    )
    return folder_sets.Layout(store, found, [part[0] for part in parts])
  pixels, emotions, words = {}, [], []
  with open(table, newline="", encoding="utf-8") as file:
    for number, row in enumerate(csv.DictReader(file)):
      pixels[f"{number:05d}.pgm"] = np.array(row["pixels"].split(), np.uint8).reshape(48, 48)
      emotions.append(int(row["emotion"]))
      words.append(FER_USAGE[row["Usage"]])
  return folder_sets.Layout(
    _Pixels(table, pixels), folder_sets.columns_of({"emotion": emotions}, {"emotion": EMOTIONS}), words
  )


SOURCE = folder_sets.source(
  "grey faces of FER2013 with emotions",
  read,
  "fer2013.csv or its folder, or a folder with train/, validation/, test/ and in them one for each emotion",
)
