"""PrGAN's aeroplanes: silhouettes of 421 models from nine sides; nothing says which is which to a method."""

import os

from pdr_jax.data import folder_sets, image_folder

TABLE = "labels.csv"
VIEWS = tuple(str(i) for i in range(9))


def read(path: str) -> folder_sets.Layout:
  """Pictures with their model and view, without those that repeat another file byte by byte."""
  store = image_folder.open_store(path)
  columns = ("view", "model", "same_bytes_as")
  table = folder_sets.rows_by_file(os.path.join(path, TABLE), store, columns)
  rows = dict(zip(store.names, table, strict=True))
  repeat = "pictures that repeat another"
  store = folder_sets.Some(store, lambda name: not rows[name]["same_bytes_as"], repeat)
  columns = {
    "view": folder_sets.classes_of([int(rows[name]["view"]) for name in store.names], VIEWS),
    "model": folder_sets.classes_of([rows[name]["model"] for name in store.names]),
  }
  return folder_sets.Layout(store, columns)


SOURCE = folder_sets.source(
  "silhouettes of PrGAN's aeroplanes", read, "the folder with images.zip and labels.csv (file, model, view)"
)
