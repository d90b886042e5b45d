"""`python -m pdr_jax.decompose`: takes pictures apart with an exported model."""

import argparse
import collections
import json
import os
import sys
from collections.abc import Iterator

import numpy as np

import pdr_jax
from pdr_jax.cli import flags
from pdr_jax.cli.compilation_cache import cache_compilations
from pdr_jax.data import decode
from pdr_jax.errors import UserError
from pdr_jax.files import write_json

BATCH = 32
MESHES = ("glb", "ply", "obj")
MANIFEST = "decomposed.json"  # in --out: the folders that this command wrote there


def declare(parser: argparse.ArgumentParser) -> None:
  """The command's flags."""
  parser.add_argument("pictures", metavar="PICTURE_OR_FOLDER", nargs="+", help="pictures, and folders of pictures")
  parser.add_argument(
      "--export", metavar="DIR",
      help="folder of an export (python -m pdr_jax.export makes one); without it, the model shipped with the package")
  parser.add_argument(
      "--out", metavar="DIR", required=True,
      help="folder that takes one folder for each picture; a picture that cannot be used is named and left out")
  parser.add_argument(
      "--crop", type=int, nargs=4, default=(), metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"),
      help="rectangle in pixels that is kept of every picture; without it, the centre square")
  parser.add_argument("--mesh", choices=MESHES, default="glb", help="format of the mesh (default glb)")
  parser.add_argument(
      "--lit_mesh", action="store_true", help="colour the mesh by the lit canonical picture instead of the albedo")
  parser.add_argument("--force", action="store_true", help="write over what an earlier start has written")


COMMAND = flags.Command(
    module="pdr_jax.decompose",
    summary="Takes pictures apart: albedo, shading, normals, depth, light and viewpoint; relit, turned, and as a mesh.",
    examples=(
        "python -m pdr_jax.decompose photo.jpg --out out",
        "python -m pdr_jax.decompose photos/ --export exported/quickstart --out out --mesh obj",
    ),
    declare=declare,
)


def main(argv: list[str]) -> int:
  """Flags -> folders of results; returns the exit code."""
  values = flags.parse(COMMAND, argv)
  crop = decode.check_crop(values.crop)
  out = os.path.abspath(os.path.expanduser(values.out))
  targets = targets_of(find(values.pictures), out)
  if not values.force:
    for folder in targets.values():
      if os.path.exists(folder):
        raise UserError(f"{folder} exists already: choose another --out, or pass --force to write over it")

  from pdr_jax.exports import decomposition  # JAX and trimesh take seconds to import

  cache_compilations()
  model = pdr_jax.load(values.export)
  done = 0
  for names, images in batches(list(targets), model.side, crop):
    parts = {name: np.asarray(value) for name, value in model.decompose(images).items()}
    decomposition.check_parts(parts, model.manifest["method"])
    if not done:
      note_targets(out, targets)
    for i, name in enumerate(names):
      of_one = {key: value[i : i + 1] for key, value in parts.items()}
      decomposition.write(targets[name], name, images[i], of_one, model, mesh_format=values.mesh,
                          lit_mesh=values.lit_mesh)
      print(f"{name} -> {targets[name]}")
    done += len(names)
  if not done:
    raise UserError(f"none of the {len(targets)} pictures can be used; see the reasons above")
  return 0


def find(places: list[str]) -> dict[str, str]:
  """The pictures in the files and folders that were named: path -> its name below that folder.

  Results of this command are no pictures, wherever they lie. Raises `UserError`.
  """
  names = {}
  for place in places:
    place = os.path.expanduser(place)
    if os.path.isfile(place):
      names[place] = os.path.basename(place)
    elif os.path.isdir(place):
      names |= {path: os.path.relpath(path, place) for path in _pictures_below(place)}
    else:
      raise UserError(f"{place} does not exist: name pictures or folders of pictures")
  if not names:
    raise UserError(f"no picture in {', '.join(places)} (pictures end in {' '.join(decode.SUFFIXES)})")
  return names


def _pictures_below(place: str) -> Iterator[str]:
  """Paths of the pictures in a folder and below it, without hidden ones and without results of this command."""
  results: set[str] = set()
  for folder, folders, files in os.walk(place):
    results |= _noted_targets(folder)
    folders[:] = sorted(name for name in folders if not name.startswith(".")
                        and os.path.abspath(os.path.join(folder, name)) not in results)
    yield from (os.path.join(folder, name) for name in sorted(files)
                if not name.startswith(".") and name.lower().endswith(decode.SUFFIXES))


def _noted_targets(folder: str) -> set[str]:
  """Absolute paths of the result folders that the manifest in a folder names. Raises `UserError` for a damaged one."""
  path = os.path.join(folder, MANIFEST)
  if not os.path.exists(path):
    return set()
  try:
    with open(path, encoding="utf-8") as file:
      return {os.path.abspath(os.path.join(folder, name)) for name in json.load(file)["folders"]}
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UserError(f"{path} does not say which folders are results ({type(error).__name__}): move them elsewhere and "
                    "delete it") from error


def note_targets(out: str, targets: dict[str, str]) -> None:
  """Adds the folders that are about to be written to the manifest in `out`."""
  folders = _noted_targets(out) | set(targets.values())
  write_json(os.path.join(out, MANIFEST), {"folders": sorted(os.path.relpath(folder, out) for folder in folders)})


def targets_of(names: dict[str, str], out: str) -> dict[str, str]:
  """Pictures -> the folder in `out` that each gets: its name, with the suffix where two would share it.

  Raises `UserError` where two pictures have the same name.
  """
  stems = [os.path.splitext(name)[0] for name in names.values()]
  shared = {stem for stem, count in collections.Counter(stems).items() if count > 1}
  targets = {path: os.path.join(out, name if stem in shared else stem)
             for (path, name), stem in zip(names.items(), stems, strict=True)}
  folder, count = collections.Counter(targets.values()).most_common(1)[0]
  if count > 1:
    raise UserError(f"two pictures would go to {folder}: name their folders one at a time, each with its own --out")
  return targets


def batches(paths: list[str], side: int, crop: tuple[int, ...]) -> Iterator[tuple[list[str], np.ndarray]]:
  """Pictures that can be used, with their images `[B,S,S,3]` in [-1, 1]; the others are named on stderr.

  Every batch has the same size, so that one program serves them all: the last is filled up with copies, which have no
  name.
  """
  size = min(BATCH, len(paths))
  names, images = [], []
  for last, path in enumerate(paths, 1 - len(paths)):
    try:
      with open(path, "rb") as file:
        decode.check_header(file, crop)  # before the whole of a huge file is read
        file.seek(0)
        images.append(decode.decode_image(file.read(), side, crop).astype(np.float32) / 127.5 - 1)
      names.append(path)
    except (decode.BadImage, OSError) as error:
      print(f"{path} is left out: {error}", file=sys.stderr)
    if names and (len(names) == size or last == 0):
      yield names, np.stack(images + images[:1] * (size - len(images)))
      names, images = [], []
