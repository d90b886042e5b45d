"""`python -m pdr_jax.decompose`: takes pictures apart with an exported model."""

import argparse
import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

import pdr_jax
from pdr_jax.cli import crops, flags, pictures, runtime
from pdr_jax.data import own_files
from pdr_jax.errors import UserError

MESHES = ("glb", "ply", "obj")
TABLE = "labels.csv"  # of --normalize_only
LEAST_VISIBLE = 0.02  # share of the canonical pixels; a view that shows less shows no face


def declare(parser: argparse.ArgumentParser) -> None:
  """The command's flags."""
  parser.add_argument(
    "pictures",
    metavar="PICTURE_OR_FOLDER_OR_ZIP",
    nargs="+",
    help="pictures, and folders and zips of pictures",
  )
  parser.add_argument(
    "--export",
    metavar="DIR",
    type=flags.text,
    help="folder of an export (python -m pdr_jax.export makes one); without it, the model shipped with the "
    "package",
  )
  parser.add_argument(
    "--out",
    metavar="DIR",
    required=True,
    type=flags.out,
    help="folder that takes one folder for each picture, and decomposed.json, which names them: results are "
    "never taken for pictures; a picture that cannot be used is named and left out",
  )
  parser.add_argument(
    "--crop",
    nargs="+",
    default=(),
    metavar="CROP",
    help="what is kept of every picture: center (the centre square, default), LEFT TOP RIGHT BOTTOM in "
    "pixels, or auto: the face, by a detector (pip install scikit-image) and the reconstruction error; "
    "faces: every face of a photograph, each with results of its own",
  )
  parser.add_argument(
    "--side",
    type=int,
    default=512,
    metavar="PIXELS",
    help="the results have the photograph's own resolution, at most this many pixels a side (default 512)",
  )
  parser.add_argument(
    "--normalize_only",
    action="store_true",
    help="write one picture each, in canonical pose and without its light, and a labels.csv with their "
    "names, their labels, and the views that were undone",
  )
  parser.add_argument("--mesh", choices=MESHES, default="glb", help="format of the mesh (default glb)")
  parser.add_argument(
    "--lit_mesh",
    action="store_true",
    help="colour the mesh by the lit canonical picture instead of the albedo",
  )
  parser.add_argument("--force", action="store_true", help="write over what an earlier start has written")


COMMAND = flags.Command(
  module="pdr_jax.decompose",
  summary="Takes pictures apart: albedo, normals, depth, light, view, or voxels; relit, turned, as a mesh.",
  examples=(
    "python -m pdr_jax.decompose photo.jpg --out out",
    "python -m pdr_jax.decompose photo.jpg --crop auto --out out",
    "python -m pdr_jax.decompose photos/ --normalize_only --out frontal",
    "python -m pdr_jax.decompose photos/ --export exported/quickstart --out out --mesh obj",
  ),
  declare=declare,
)


def main(argv: list[str]) -> int:
  """Flags -> folders of results; returns the exit code."""
  values = flags.parse(COMMAND, argv)
  crop = crops.parse(values.crop)
  if values.side < 1:
    raise UserError(f"--side {values.side}: must be at least 1")
  out = os.path.abspath(values.out)
  given = pictures.find(values.pictures, out)
  if crop == crops.FACES:
    given = pictures.by_face(given)
  if values.normalize_only:
    given = [picture._replace(target=f"{picture.target}.png") for picture in given]
  _check_targets(given, out, values)

  from pdr_jax.cli import normalized_folder  # JAX and trimesh take seconds to import

  runtime.cache_compilations()
  labels = normalized_folder.labels_of(values.pictures) if values.normalize_only else {}
  model, rows, done = pdr_jax.load(values.export), [], 0
  choose = crops.automatic(model) if crop in (crops.AUTO, crops.FACES) else crops.fixed(crop)
  for batch in pictures.batches(given, model.element, choose, values.side):
    parts = {name: np.asarray(value) for name, value in model.decompose(batch.images).items()}
    writer = _writer(parts, model, values.normalize_only)
    if not done:
      _claim(out, given, None if values.normalize_only else writer.FILES)
    for i, (picture, photograph) in enumerate(zip(batch.pictures, batch.photographs, strict=True)):
      of_one = {name: value[i : i + 1] for name, value in parts.items()}
      if values.normalize_only:
        row, visible = normalized_folder.write(picture, photograph, of_one, model, out)
        rows.append(row)
      else:
        formats = {"mesh_format": values.mesh, "lit_mesh": values.lit_mesh}
        visible = writer.write(picture.target, picture.title, photograph, of_one, model, **formats)
      done += 1
      print(f"[{done} of {len(given)}] {picture.title} -> {picture.target}")
      if visible < LEAST_VISIBLE:
        pictures.say(picture, "is not seen from this view: colours are those of the model's albedo")
    if values.normalize_only:
      normalized_folder.write_table(os.path.join(out, TABLE), rows, labels)
  if not done:
    raise UserError(f"none of the {len(given)} pictures can be used; see the reasons above")
  return 0


def _check_targets(given: Sequence[pictures.Picture], out: str, values: argparse.Namespace) -> None:
  """Raises `UserError` where results would be written over something."""
  targets = [(picture.target, picture.title) for picture in given]
  if values.normalize_only:
    targets.append((os.path.join(out, TABLE), "the labels"))
  for target, title in targets:
    if os.path.isfile(target) and not values.normalize_only:
      raise UserError(
        f"{target} is a file, and the results of {title} need a folder of that name: choose another --out"
      )
    if os.path.exists(target) and not values.force:
      raise UserError(f"{target} exists already: choose another --out, or pass --force to write over it")


def _writer(parts: dict[str, np.ndarray], model: Any, normalize_only: bool) -> ModuleType:
  """The module that writes such a decomposition. Raises `UserError` where none does."""
  from pdr_jax.exports import decomposition, voxel_decomposition

  writer = voxel_decomposition if "voxels" in parts and not normalize_only else decomposition
  writer.check_parts(parts, model)
  return writer


def _claim(out: str, given: Sequence[pictures.Picture], files: Sequence[str] | None) -> None:
  """Says in the manifest what is going to be written: these files for each picture; None: the picture itself.

  Raises `UserError` where a file is there already that no earlier start has written.
  """
  targets = [picture.target for picture in given]
  folders, normalized = (targets, []) if files else ([], [*targets, os.path.join(out, TABLE)])
  paths = [os.path.join(folder, name) for folder in folders for name in files or ()]
  written_here = own_files.kinds()
  for path in (*paths, *normalized):
    if os.path.exists(path) and not written_here(path):
      reason = "no earlier start has written it, and --force does not write over it"
      raise UserError(f"{path} is a file of yours: {reason}; choose another --out")
  pictures.write_manifest(out, folders, files or (), normalized)
