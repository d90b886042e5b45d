"""Your own shapes: OFF meshes or binvox volumes in ModelNet's layout, seen as silhouettes."""

import os

import numpy as np

from pdr_jax.data import shape_files, shape_sets, voxel_views
from pdr_jax.data.dataset import Dataset, Source
from pdr_jax.errors import UserError

SUFFIXES = (".off", ".binvox")
LAYOUT = "a folder KIND/train/NAME.off and KIND/test/NAME.off (or .binvox), as ModelNet40 is laid out"


def read(config) -> Dataset:
  """Every shape that can be read; the others are skipped with their reasons. Raises UserError."""
  data = config.data
  root = os.path.expanduser(data.path)
  if not os.path.isdir(root):
    raise UserError(f"data.path={data.path} is no folder; {data.name}: name {LAYOUT}")
  entries = find(root)
  if not entries:
    raise UserError(f"data.path={data.path} holds no shape; {data.name}: name {LAYOUT}")
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

  known = [row for row, entry in enumerate(solids) if entry[1] != "test"]
  if len(known) < 2:
    raise UserError(f"data.path={data.path} has {len(known)} shape to train on: at least 2 are needed")
  train, validation = shape_sets.held_out(len(known), data.val_examples, data.scene_seed)
  parts = {
    "train": shapes([known[i] for i in train]),
    "validation": shapes([known[i] for i in validation]),
  }
  tests = [row for row, entry in enumerate(solids) if entry[1] == "test"]
  parts |= {"test": shapes(tests)} if tests else {}
  return shape_sets.open_shapes(data, parts, kinds, skipped)


def find(root: str) -> list[tuple[str, str, str]]:
  """(kind, part, path) of every file of a shape; a shape that lies beside the parts is for training."""
  entries = []
  for folder, folders, names in os.walk(root):
    folders.sort()
    words = os.path.relpath(folder, root).split(os.sep)
    part = words[-1] if words[-1] in ("train", "test") else "train"
    kind = words[0] if words[0] not in (".", "train", "test") else "shape"
    entries += [
      (kind, part, os.path.join(folder, name)) for name in sorted(names) if name.lower().endswith(SUFFIXES)
    ]
  return entries


def load(path: str) -> shape_files.Solid:
  """The solid of one file. Raises BadShape, OSError."""
  with open(path, "rb") as file:
    data = file.read()
  if path.lower().endswith(".binvox"):
    return shape_files.read_binvox(data)
  return shape_files.solid_of_mesh(*shape_files.read_off(data))


SOURCE = Source(about="silhouettes of your own OFF meshes and binvox volumes", open=read, path=LAYOUT)
