"""Takes pictures apart with an exported model: albedo, shading, normals, depth, light and viewpoint, relit, turned, and as a mesh.

python -m pdr_jax.decompose [--export DIR] --out DIR PICTURE_OR_FOLDER ... [--crop LEFT TOP RIGHT BOTTOM]
    [--mesh glb|ply|obj] [--lit_mesh] [--force]

  --export    folder of an export (python -m pdr_jax.export makes one); without it, the model that is shipped with the package
  --out       folder that takes one folder for each picture; a picture that cannot be used is named and left out
  --crop      rectangle in pixels that is kept of every picture; without it, the centre square
  --mesh      format of the mesh (default glb)
  --lit_mesh  colour the mesh by the lit canonical picture instead of the albedo
  --force     write over what an earlier start has written
"""

import io
import math
import os
import sys
from collections.abc import Iterator

import numpy as np
from PIL import Image

import pdr_jax
from pdr_jax import command_line
from pdr_jax.data import decode
from pdr_jax.errors import UserError
from pdr_jax.files import write_atomically, write_json

BATCH = 32
FRAMES, FRAME_MS = 24, 70
SHOWN_SIDE = 256  # animations are enlarged to about this many pixels; the PNGs keep the model's own
TURN = math.radians(30.0)  # of the turning animation, to both sides
AMBIENT, DIFFUSE, SLANT = 0.35, 0.75, 1.0  # of the light that goes around; SLANT: its tangent to the line of sight
VIEW = ("rx", "ry", "rz", "tx", "ty", "tz")
MESHES = ("glb", "ply", "obj")


def main(argv: list[str]) -> int:
  """Flags -> folders of results; returns the exit code."""
  parser = command_line.Parser()
  parser.add_argument("pictures", nargs="+")
  parser.add_argument("--export", default=None)
  parser.add_argument("--out", required=True)
  parser.add_argument("--crop", type=int, nargs=4, default=())
  parser.add_argument("--mesh", choices=MESHES, default="glb")
  parser.add_argument("--lit_mesh", action="store_true")
  parser.add_argument("--force", action="store_true")
  flags = parser.parse_args(argv[1:])
  crop = decode.check_crop(flags.crop)
  targets = find(flags.pictures, os.path.expanduser(flags.out))
  if not flags.force:
    for folder in targets.values():
      if os.path.exists(folder):
        raise UserError(f"{folder} exists already: choose another --out, or pass --force to write over it")

  import jax

  from pdr_jax.main import cache_compilations

  cache_compilations(jax)
  model = pdr_jax.load(flags.export)
  done = 0
  for names, images in batches(list(targets), model.side, crop):
    parts = {name: np.asarray(value) for name, value in model.decompose(images).items()}
    for i, name in enumerate(names):
      one = {key: value[i : i + 1] for key, value in parts.items()}
      write(targets[name], name, images[i], one, model, flags.mesh, flags.lit_mesh)
      print(f"{name} -> {targets[name]}")
    done += len(names)
  if not done:
    raise UserError(f"none of the {len(targets)} pictures can be used; see the reasons above")
  return 0


def find(places: list[str], out: str) -> dict[str, str]:
  """Pictures in the files and folders named -> the folder in `out` that each gets: its name, with the suffix where two would share it."""
  found = {}
  for place in places:
    place = os.path.expanduser(place)
    if os.path.isfile(place):
      found[place] = os.path.basename(place)
    elif os.path.isdir(place):
      for folder, folders, files in os.walk(place):
        shown = [name for name in folders if not name.startswith(".")]
        folders[:] = sorted(name for name in shown if os.path.abspath(os.path.join(folder, name)) != os.path.abspath(out))
        paths = [os.path.join(folder, name) for name in sorted(files) if not name.startswith(".")]
        found |= {path: os.path.relpath(path, place) for path in paths if path.lower().endswith(decode.SUFFIXES)}
    else:
      raise UserError(f"{place} does not exist: name pictures or folders of pictures")
  if not found:
    raise UserError(f"no picture in {', '.join(places)} (pictures end in {' '.join(decode.SUFFIXES)})")
  stems = [os.path.splitext(name)[0] for name in found.values()]
  targets = {path: os.path.join(out, stem if stems.count(stem) == 1 else found[path]) for path, stem in zip(found, stems, strict=True)}
  twice = [folder for folder in targets.values() if list(targets.values()).count(folder) > 1]
  if twice:
    raise UserError(f"two pictures would go to {twice[0]}: name their folders one at a time, each with its own --out")
  return targets


def batches(paths: list[str], side: int, crop: tuple[int, ...]) -> Iterator[tuple[list[str], np.ndarray]]:
  """Pictures that can be used, with their images `[B,S,S,3]` in [-1, 1]; the others are named on stderr.

  Every batch has the same size, so that one program serves them all: the last is filled up with copies, which have no name.
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


def write(folder: str, source: str, image: np.ndarray, parts: dict[str, np.ndarray], model, mesh_format: str, lit_mesh: bool) -> None:
  """Writes the results of one picture; `parts` are those of a batch of one. `factors.json` comes last."""
  from pdr_jax.report import mesh  # trimesh takes a moment

  scene = model.config["scene"]
  near, far = scene["min_depth"], scene["max_depth"]
  white = max(1.0, float(parts["shading"].max()))
  depth = parts["depth"][0]
  pngs = {
      "input": _bytes(image), "albedo": _bytes(parts["albedo"][0]), "normals": _bytes(parts["normal"][0]),
      "shading": _bytes(parts["shading"][0] / white * 2 - 1), "canonical": _bytes(parts["canonical"][0]),
      "reconstruction": _bytes(_over_white(parts["reconstruction"], parts["mask"])[0]),
      "depth": np.rint(np.clip((depth - near) / (far - near), 0, 1) * 65535).astype(np.uint16),
  }
  path = lambda name: os.path.join(os.path.abspath(folder), name)
  for name, pixels in pngs.items():
    _save(path(f"{name}.png"), Image.fromarray(pixels), format="PNG")
  _animate(path("relit.gif"), model.render(parts, light=circling_lights(parts["light"].shape[2:])))
  _animate(path("turned.gif"), model.render(parts, view=turning_views()))
  mesh.save(path(f"mesh.{mesh_format}"), depth, parts["canonical" if lit_mesh else "albedo"][0], scene["fov"], lit=lit_mesh)
  write_json(path("factors.json"), {
      "picture": source, "method": model.manifest["method"], "step": model.manifest.get("step"),
      "light": parts["light"][0].tolist(), "view": dict(zip(VIEW, parts["view"][0].tolist(), strict=True)),
      "units": {"light": "spherical harmonics, (l, m) in the order of CONVENTIONS.md", "view": "radians, model units",
                "mesh": "model units, see pdr_jax/report/mesh.py"},
      "png": {"depth": {"0": near, "65535": far}, "shading": {"0": 0.0, "255": white}, "normals": {"0": -1.0, "255": 1.0}},
  })


def circling_lights(colours: tuple[int, ...]) -> np.ndarray:
  """A light that goes once around the line of sight, from the left over the top, `[FRAMES, 9, *colours]`."""
  from pdr_jax.render.lighting import directional_to_sh

  angle = np.arange(FRAMES) * (2 * np.pi / FRAMES)
  direction = np.stack([SLANT * np.cos(angle), SLANT * np.sin(angle), np.ones(FRAMES)], axis=-1).astype(np.float32)
  light = np.asarray(directional_to_sh(np.full(FRAMES, AMBIENT, np.float32), np.full(FRAMES, DIFFUSE, np.float32), direction))
  return np.broadcast_to(light.reshape(FRAMES, 9, *(1 for _ in colours)), (FRAMES, 9, *colours))


def turning_views() -> np.ndarray:
  """From the front to both sides and back, `[FRAMES, 6]`."""
  view = np.zeros((FRAMES, 6), np.float32)
  view[:, 1] = TURN * np.sin(np.arange(FRAMES) * (2 * np.pi / FRAMES))
  return view


def _animate(path: str, rendered: dict) -> None:
  pixels = _bytes(_over_white(np.asarray(rendered["image"]), np.asarray(rendered["mask"])))
  side = pixels.shape[1] * max(1, round(SHOWN_SIDE / pixels.shape[1]))
  first, *rest = [Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC) for frame in pixels]
  _save(path, first, format="GIF", save_all=True, append_images=rest, duration=FRAME_MS, loop=0)


def _over_white(images: np.ndarray, mask: np.ndarray) -> np.ndarray:
  return np.where(mask[..., None] > 0, images, 1.0)


def _bytes(values: np.ndarray) -> np.ndarray:
  """[-1, 1] to 0 ... 255, clipped."""
  return np.rint(np.clip(values / 2 + 0.5, 0, 1) * 255).astype(np.uint8)


def _save(path: str, image: Image.Image, **how) -> None:
  buffer = io.BytesIO()
  image.save(buffer, **how)
  write_atomically(path, lambda file: file.write(buffer.getvalue()))


if __name__ == "__main__":
  command_line.run(main, __doc__)
