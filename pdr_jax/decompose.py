"""Takes pictures apart with an exported model.

Writes albedo, shading, normals, depth, light and viewpoint, the picture relit and turned, and a mesh.

python -m pdr_jax.decompose [--export DIR] --out DIR PICTURE_OR_FOLDER_OR_ZIP ...
    [--crop LEFT TOP RIGHT BOTTOM] [--mesh glb|ply|obj] [--lit_mesh] [--force]

  --export    folder of an export (python -m pdr_jax.export makes one); without it, the model that is shipped
              with the package
  --out       folder that takes one folder for each picture, and decomposed.json, which names them: results are
              never taken for pictures. A picture that cannot be used is named and left out
  --crop      rectangle in pixels that is kept of every picture; without it, the centre square
  --mesh      format of the mesh (default glb)
  --lit_mesh  colour the mesh by the lit canonical picture instead of the albedo
  --force     write over what an earlier start has written
"""

import collections
import functools
import io
import itertools
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

import pdr_jax
from pdr_jax import command_line
from pdr_jax.data import decode, stores
from pdr_jax.errors import UserError
from pdr_jax.files import write_atomically, write_json

BATCH = 32
FRAMES, FRAME_MS = 24, 70
SHOWN_SIDE = 256  # animations are enlarged to about this many pixels; the PNGs keep the model's own
TURN = math.radians(30.0)  # of the turning animation, to both sides
# Of the light that goes around; SLANT is its tangent to the line of sight.
AMBIENT, DIFFUSE, SLANT = 0.35, 0.75, 1.0
VIEW = ("rx", "ry", "rz", "tx", "ty", "tz")
MESHES = ("glb", "ply", "obj")
MANIFEST = "decomposed.json"  # in --out: which folders beside it, and which pictures in them, are results
PNGS = ("input", "albedo", "normals", "shading", "canonical", "reconstruction", "depth")
RESULTS = tuple(f"{name}.png" for name in PNGS) + ("relit.gif", "turned.gif")  # those that look like pictures


class Picture(NamedTuple):
  """A picture that was found: how it is called in messages, how to open it, and the folder of its results."""

  title: str
  open: Callable[[], BinaryIO]
  target: str


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
  out = os.path.abspath(os.path.expanduser(flags.out))
  pictures = find(flags.pictures, out)
  if not flags.force:
    for picture in pictures:
      if os.path.exists(picture.target):
        advice = "choose another --out, or pass --force to write over it"
        raise UserError(f"{picture.target} exists already: {advice}")

  import jax

  from pdr_jax.main import cache_compilations

  cache_compilations(jax)
  model = pdr_jax.load(flags.export)
  done = 0
  for usable, images in batches(pictures, model.side, crop):
    if not done:
      write_manifest(out, [picture.target for picture in pictures])
    parts = {name: np.asarray(value) for name, value in model.decompose(images).items()}
    for i, picture in enumerate(usable):
      own = {key: value[i : i + 1] for key, value in parts.items()}
      write(picture.target, picture.title, images[i], own, model, flags.mesh, flags.lit_mesh)
      print(f"{picture.title} -> {picture.target}")
    done += len(usable)
  if not done:
    raise UserError(f"none of the {len(pictures)} pictures can be used; see the reasons above")
  return 0


def find(places: Sequence[str], out: str) -> list[Picture]:
  """The pictures in the files, folders and zips named, without those that an earlier start has written.

  The results of each go to a folder in `out` of its name, with the suffix where two would share it. Files that
  are left out are counted on stderr. Raises `UserError` where there is nothing, or two pictures would go to one
  folder.
  """
  entries = []  # (title, how to open it, name relative to the place)
  for place in places:
    place = os.path.expanduser(place)
    if os.path.isfile(place) and not place.lower().endswith(".zip"):
      entries.append((place, functools.partial(open, place, "rb"), os.path.basename(place)))
      continue
    if not os.path.exists(place):
      raise UserError(f"{place} does not exist: name pictures, or folders or zips of pictures")
    store = stores.Zip(place) if os.path.isfile(place) else stores.Folder(place, is_result())
    left_out = stores.describe_left_out(store.left_out)
    if left_out:
      print(f"{place}: left out {left_out}", file=sys.stderr)
    for name in store.names:
      entries.append((os.path.join(place, name), functools.partial(store.open, name), name))
  if not entries:
    raise UserError(f"no picture in {', '.join(places)} (pictures end in {' '.join(decode.SUFFIXES)})")
  # An entry of a zip may be called ../../x.png: nothing is written outside of `out`.
  inner = lambda name: "/".join(part for part in name.split("/") if part not in ("", ".", ".."))
  names = [inner(name) for _, _, name in entries]
  stems = [os.path.splitext(name)[0] for name in names]
  uses = collections.Counter(stems)
  pictures = [
      Picture(title, opener, os.path.join(out, stem if uses[stem] == 1 else name))
      for (title, opener, _), name, stem in zip(entries, names, stems, strict=True)
  ]
  target, count = collections.Counter(picture.target for picture in pictures).most_common(1)[0]
  if count > 1:
    raise UserError(f"two pictures would go to {target}: name their folders one at a time, each with its own --out")
  return pictures


def is_result() -> Callable[[str], bool]:
  """A test of paths: was this file written by an earlier start, as the manifest of a folder above it says?"""

  @functools.cache
  def results_below(folder: str) -> frozenset[str]:
    manifest = read_manifest(folder)
    inside = itertools.product(manifest["folders"], manifest["files"])
    return frozenset(os.path.join(folder, *names) for names in inside)

  @functools.cache
  def folders_above(folder: str) -> tuple[str, ...]:
    above = os.path.dirname(folder)
    return (folder,) if above == folder else (folder, *folders_above(above))

  def test(path: str) -> bool:
    path = os.path.abspath(path)
    return any(path in results_below(folder) for folder in folders_above(os.path.dirname(path)))

  return test


def read_manifest(out: str) -> dict[str, list[str]]:
  """`folders` with results in `out` and the names of the `files` in each; both empty where there is none."""
  path = os.path.join(out, MANIFEST)
  try:
    with open(path, encoding="utf-8") as file:
      manifest = json.load(file)
    return {key: [str(name) for name in manifest[key]] for key in ("folders", "files")}
  except OSError:
    return {"folders": [], "files": []}
  except (ValueError, KeyError, TypeError) as error:
    reason = f"{path} is damaged ({type(error).__name__})"
    raise UserError(f"{reason}: remove it, and the results beside it") from error


def write_manifest(out: str, targets: Sequence[str]) -> None:
  """Adds folders in `out` to its manifest, before anything is written into them."""
  earlier = read_manifest(out)
  new = (os.path.relpath(target, out).replace(os.sep, "/") for target in targets)
  written = {"folders": sorted({*earlier["folders"], *new}), "files": sorted({*earlier["files"], *RESULTS})}
  write_json(os.path.join(out, MANIFEST), written)


def batches(
    pictures: Sequence[Picture], side: int, crop: tuple[int, ...]
) -> Iterator[tuple[list[Picture], np.ndarray]]:
  """Pictures that can be used, with their images `[B,S,S,3]` in [-1, 1]; the others are named on stderr.

  Every batch has the same size, so that one program serves them all: the last is filled up with copies, which
  belong to no picture.
  """
  size = min(BATCH, len(pictures))
  usable, images = [], []
  for number, picture in enumerate(pictures, 1):
    try:
      with picture.open() as file:
        decode.check_header(file, crop)  # before the whole of a huge file is read
      with picture.open() as file:
        images.append(decode.decode_image(file.read(), side, crop).astype(np.float32) / 127.5 - 1)
      usable.append(picture)
    except Exception as error:  # BadImage; that of a damaged zip or of a file that cannot be opened
      reason = error if isinstance(error, decode.BadImage) else f"cannot be read ({error})"
      print(f"{stores.printable(picture.title)} is left out: {reason}", file=sys.stderr)
    if usable and (len(usable) == size or number == len(pictures)):
      yield usable, np.stack(images + images[:1] * (size - len(images)))
      usable, images = [], []


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
