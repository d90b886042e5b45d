"""PrGAN's aeroplanes: silhouettes of 421 models from nine sides; nothing says which is which to a method."""

import csv
import os
from collections.abc import Mapping

from pdr_jax.data import folder_sets, image_folder
from pdr_jax.errors import UserError

TABLE = "labels.csv"
VIEWS = tuple(str(i) for i in range(9))


def read(path: str) -> folder_sets.Layout:
  """Pictures with their model and view, without those that repeat another file byte by byte."""
  with open(os.path.join(path, TABLE), newline="", encoding="utf-8") as file:
    rows: Mapping[str, dict] = {row["file"]: row for row in csv.DictReader(file)}
  store = image_folder.open_store(path)
  if missing := [name for name in store.names if name not in rows]:
    raise UserError(f"{os.path.join(path, TABLE)} has no line for {missing[0]}")
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
