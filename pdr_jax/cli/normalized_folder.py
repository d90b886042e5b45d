"""What `decompose --normalize_only` writes: a picture each, and `labels.csv`, which `image_folder` reads."""

import csv
import io
import os
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from pdr_jax.cli.pictures import Picture
from pdr_jax.data import label_files, stores
from pdr_jax.data.labels import Column
from pdr_jax.exports import decomposition, photograph
from pdr_jax.files import write_text

ANGLES = ("pitch", "yaw", "roll")  # of the view that was undone, degrees
Row = dict[str, str]


def write(
  picture: Picture, own: Float32[np.ndarray, "N N C"], parts: Mapping[str, np.ndarray], model, out: str
) -> tuple[Row, float]:
  """Writes the picture; returns its row, and the share of it that the photograph shows."""
  maps = photograph.unwrapped(own, parts, model.camera)
  shown = decomposition.exposed(maps.albedo[0], photograph.white_of(maps))
  decomposition.save_png(picture.target, shown)
  visible = float((maps.visibility > 0).mean())
  name = os.path.relpath(picture.target, out).replace(os.sep, "/")
  degrees = np.rad2deg(parts["view"][0, :3])
  views = {angle: f"{value:.2f}" for angle, value in zip(ANGLES, degrees, strict=True)}
  return {"file": name, "picture": picture.title, **views, "visible": f"{visible:.3f}"}, visible


def write_table(path: str, rows: Sequence[Row], labels: Mapping[str, Row]) -> None:
  """Writes the rows, with what their pictures are labelled with.

  Where a label is called as a column of ours, ours is called `normalized_NAME`.
  """
  taken = {name for of_one in labels.values() for name in of_one}
  joined = []
  for row in rows:
    ours = {f"normalized_{name}" if name in taken else name: value for name, value in row.items()}
    joined.append(ours | labels.get(row["picture"], {}))
  columns = list(dict.fromkeys(name for row in joined for name in row))
  text = io.StringIO()
  table = csv.DictWriter(text, columns, restval="")
  table.writeheader()
  table.writerows(joined)
  write_text(path, text.getvalue())


def labels_of(places: Sequence[str]) -> dict[str, Row]:
  """The labels of the pictures in folders and zips, by the pictures' titles. Raises `UserError`."""
  found: dict[str, Row] = {}
  for place in map(os.path.expanduser, places):
    if os.path.isfile(place) and not place.lower().endswith(".zip"):
      continue
    kind = stores.Zip if os.path.isfile(place) else stores.Folder
    store = kind(place, normalized=False)
    columns = label_files.read(store, {}).columns
    for i, name in enumerate(store.names):
      found[os.path.join(place, name)] = {title: _text(column, i) for title, column in columns.items()}
  return found


def _text(column: Column, row: int) -> str:
  if column.missing[row]:
    return ""
  value = column.values[row]
  return column.classes[value] if column.classes else np.format_float_positional(value, trim="-")
