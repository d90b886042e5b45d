"""Your own shapes: OFF meshes or binvox volumes in ModelNet's layout, seen as silhouettes."""

import collections
import os

import numpy as np

from pdr_jax.data import shape_files, shape_sets, stores, voxel_views
from pdr_jax.data.dataset import Dataset, Source
from pdr_jax.data.labels import PARTS, part_of
from pdr_jax.errors import UserError

SUFFIXES = (".off", ".binvox")
LAYOUT = "a folder KIND/train/NAME.off and KIND/test/NAME.off (or .binvox), as ModelNet40 is laid out"


def read(config) -> Dataset:
  """Every shape that can be read; the others are skipped with their reasons. Raises UserError."""
  data = config.data
  root = os.path.expanduser(data.path)
  if not os.path.isdir(root):
    raise UserError(f"data.path={data.path} is no folder; {data.name}: name {LAYOUT}")
  entries, left_out = find(root)
  told = stores.describe_left_out(left_out)
  if not entries:
    there = f" ({told})" if told else ""
    raise UserError(f"data.path={data.path} holds no shape{there}; {data.name}: name {LAYOUT}")
  kinds = sorted({kind for kind, _, _ in entries})
  solids, skipped = [], []
  for kind, part, path in entries:
    try:
      solids.append((kinds.index(kind), part, voxel_views.fitted(load(path), data.side)))
    except (shape_files.BadShape, ValueError, OSError) as error:
      skipped.append((os.path.relpath(path, root), str(error)))
  if not solids:
    raise UserError(f"data.path={data.path}: no shape can be used; the first, {': '.join(skipped[0])}")

  def shapes(rows: list[int]) -> shape_sets.Shapes:
    return shape_sets.Shapes(lambda i: solids[rows[i]][2], np.array([solids[row][0] for row in rows]))

  rows = {part: [row for row, entry in enumerate(solids) if entry[1] == part] for part in PARTS}
  known = rows["train"]
  if len(known) < 2:
    raise UserError(f"data.path={data.path} has {len(known)} shape to train on: at least 2 are needed")
  if not rows["validation"]:
    train, validation = shape_sets.held_out(len(known), data.val_examples, data.scene_seed)
    rows |= {"train": [known[i] for i in train], "validation": [known[i] for i in validation]}
  parts = {part: shapes(chosen) for part, chosen in rows.items() if chosen}
  line = f"{len(solids):,} shapes of {len(kinds)} kinds in {root}" + (f"; left out: {told}" if told else "")
  opened = shape_sets.open_shapes(data, parts, kinds, skipped)
  return opened._replace(report=(line,), fingerprint=stores.fingerprint_of(path for *_, path in entries))


def find(root: str) -> tuple[list[tuple[str, str, str]], dict[str, int]]:
  """(kind, part, path) of every file of a shape, and how many other files there are, by suffix.

  The part is the last folder on the way that means one, the kind the first that does not. A shape that lies
  beside the parts is for training.
  """
  entries, left_out = [], collections.Counter()
  for folder, folders, names in os.walk(root):
    folders[:] = sorted(name for name in folders if not name.startswith("."))
    words = os.path.relpath(folder, root).split(os.sep)
    part = next((part for word in reversed(words) if (part := part_of(word))), "train")
    kind = next((word for word in words if word != "." and not part_of(word)), "shape")
    for name in sorted(names):
      if name.lower().endswith(SUFFIXES):
        entries.append((kind, part, os.path.join(folder, name)))
      elif not name.startswith("."):
        left_out[os.path.splitext(name.lower())[1] or "without suffix"] += 1
  return entries, dict(left_out)


def load(path: str) -> shape_files.Solid:
  """The solid of one file. Raises BadShape, OSError."""
  with open(path, "rb") as file:
    data = file.read()
  if path.lower().endswith(".binvox"):
    return shape_files.read_binvox(data)
  return shape_files.solid_of_mesh(*shape_files.read_off(data))


SOURCE = Source(about="silhouettes of your own OFF meshes and binvox volumes", open=read, path=LAYOUT)
