"""`python -m pdr_jax.decompose`: takes pictures apart with an exported model."""

import argparse
import os

import numpy as np

import pdr_jax
from pdr_jax.cli import flags, pictures
from pdr_jax.cli.compilation_cache import cache_compilations
from pdr_jax.data import decode
from pdr_jax.errors import UserError

MESHES = ("glb", "ply", "obj")


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
    help="folder of an export (python -m pdr_jax.export makes one); without it, the model shipped with the "
    "package",
  )
  parser.add_argument(
    "--out",
    metavar="DIR",
    required=True,
    help="folder that takes one folder for each picture, and decomposed.json, which names them: results are "
    "never taken for pictures; a picture that cannot be used is named and left out",
  )
  parser.add_argument(
    "--crop",
    type=int,
    nargs=4,
    default=(),
    metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"),
    help="rectangle in pixels that is kept of every picture; without it, the centre square",
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
    "python -m pdr_jax.decompose photos/ --export exported/quickstart --out out --mesh obj",
  ),
  declare=declare,
)


def main(argv: list[str]) -> int:
  """Flags -> folders of results; returns the exit code."""
  values = flags.parse(COMMAND, argv)
  crop = decode.check_crop(values.crop)
  out = os.path.abspath(os.path.expanduser(values.out))
  given = pictures.find(values.pictures, out)
  for picture in given:
    if os.path.isfile(picture.target):
      raise UserError(
        f"{picture.target} is a file, and the results of {picture.title} need a folder of that name: "
        "choose another --out"
      )
    if os.path.exists(picture.target) and not values.force:
      raise UserError(
        f"{picture.target} exists already: choose another --out, or pass --force to write over it"
      )

  from pdr_jax.exports import decomposition, voxel_decomposition  # JAX and trimesh take seconds to import

  cache_compilations()
  model = pdr_jax.load(values.export)
  done = 0
  for usable, images in pictures.batches(given, model.element, crop):
    parts = {name: np.asarray(value) for name, value in model.decompose(images).items()}
    writer = voxel_decomposition if "voxels" in parts else decomposition
    writer.check_parts(parts, model)
    if not done:
      pictures.write_manifest(out, [picture.target for picture in given], writer.PICTURES)
    for i, picture in enumerate(usable):
      of_one = {name: value[i : i + 1] for name, value in parts.items()}
      writer.write(
        picture.target,
        picture.title,
        images[i],
        of_one,
        model,
        mesh_format=values.mesh,
        lit_mesh=values.lit_mesh,
      )
      print(f"{picture.title} -> {picture.target}")
    done += len(usable)
  if not done:
    raise UserError(f"none of the {len(given)} pictures can be used; see the reasons above")
  return 0
