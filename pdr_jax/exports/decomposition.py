"""What a model says about one picture, as files: PNGs, two animations, a mesh, and `factors.json`.

Colours are the photograph's own, at its own resolution (`exports.photograph`); shapes are the model's,
enlarged.
"""

import io
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from pdr_jax.errors import UserError
from pdr_jax.exports import mesh
from pdr_jax.exports import photograph as photographs
from pdr_jax.files import write_atomically, write_json

FRAMES = 24
FRAME_MS = 70
SHOWN_SIDE = 256  # of animations, about; the PNGs have the photograph's own
MESH_SIDE = 128  # of meshes with a texture
COLOURED_SIDE = 256  # of meshes with colours at their vertices
TURN = math.radians(30.0)  # of the turning animation, to both sides
AMBIENT = 0.35  # of the light that goes around
DIFFUSE = 0.75
SLANT = 1.0  # tangent of the angle between that light and the line of sight
VIEW = ("rx", "ry", "rz", "tx", "ty", "tz")
PNGS = (
  "input", "texture", "albedo", "normals", "shading", "canonical", "visibility", "depth", "model_albedo",
  "reconstruction",
)
MESHES = tuple(f"mesh{suffix}" for suffix in mesh.FRAMES)
# What may be in the folder of a picture, with one of the meshes.
# What may be in the folder of a picture, with one of the meshes.
FILES = (*(f"{name}.png" for name in PNGS), "relit.gif", "turned.gif", *MESHES, "factors.json")
PARTS = ("depth", "albedo", "normal", "shading", "canonical", "reconstruction", "mask", "light", "view")


def check_parts(parts: dict[str, Any], model: Any) -> None:
  """Raises `UserError` where a model's decomposition is not the one that is written here."""
  check_named(parts, model, PARTS)
  if model.camera is None:
    raise UserError(f"a model of {model.manifest['method']} names no camera, which the mesh needs")


def check_named(parts: dict[str, Any], model: Any, names: Sequence[str]) -> None:
  """Raises `UserError` where a decomposition lacks one of these names."""
  missing = [name for name in names if name not in parts]
  if missing:
    raise UserError(
      f"a model of {model.manifest['method']} gives {', '.join(parts)}; decompose writes pictures of "
      f"{', '.join(names)}"
    )


def write(
  folder: str,
  source: str,
  photograph: Float[np.ndarray, "N N C"],
  parts: dict[str, np.ndarray],
  model: Any,
  *,
  mesh_format: str,
  lit_mesh: bool,
) -> float:
  """Writes the results of one picture; returns the share of the canonical pixels that it shows.

  Args:
    folder: made if need be. `factors.json` comes last: without it a folder is incomplete.
    source: name of the picture.
    photograph: the picture at its own resolution, at least the model's, in [-1, 1].
    parts: what `model.decompose` gave for it at the model's side, for a batch of one.
    model: an `exports.reader.Model`.
    mesh_format: suffix of `exports.mesh`, without the dot.
    lit_mesh: colour the mesh by the lit canonical picture instead of the albedo.
  """
  maps, camera = photographs.unwrapped(photograph, parts, model.camera), model.camera
  canonical = photographs.lit(maps)
  white = {"albedo": photographs.white_of(maps), "shading": max(1.0, float(maps.shading.max()))}
  depth = (maps.depth[0] - camera["near"]) / (camera["far"] - camera["near"])
  pngs = {
    "input": _bytes(photograph),
    "texture": _bytes(maps.texture[0]),
    "albedo": _bytes(exposed(maps.albedo[0], white["albedo"])),
    "normals": _bytes(maps.normal[0]),
    "shading": _bytes(maps.shading[0] / white["shading"] * 2 - 1),
    "canonical": _bytes(canonical[0]),
    "visibility": _bytes(maps.visibility[0] * 2 - 1),
    "depth": np.rint(np.clip(depth, 0, 1) * 65535).astype(np.uint16),
    "model_albedo": _bytes(parts["albedo"][0]),
    "reconstruction": _bytes(_over_white(parts["reconstruction"], parts["mask"])[0]),
  }

  def path(name: str) -> str:
    return os.path.join(os.path.abspath(folder), name)

  for name, pixels in pngs.items():
    _save(path(f"{name}.png"), Image.fromarray(pixels), format="PNG")
  _write_animations(path, maps, parts, camera)
  colours = canonical if lit_mesh else exposed(maps.albedo, white["albedo"])
  _write_mesh(path(f"mesh.{mesh_format}"), maps, colours, model, lit_mesh)
  visible = float((maps.visibility > 0).mean())
  write_json(path("factors.json"), _factors(source, parts, model, white) | {"visible": visible})
  return visible


def exposed(albedo: Float[np.ndarray, "..."], white: float) -> Float[np.ndarray, "..."]:
  """The albedo with the reflectance `white` at 1."""
  return (albedo + 1) / white - 1


def _write_animations(
  path: Callable[[str], str], maps: photographs.Maps, parts: dict[str, np.ndarray], camera: dict[str, float]
) -> None:
  """A light that goes around at the photograph's view, and a turn in its own light."""
  own, small = parts["depth"].shape[-1], photographs.reduced(maps, SHOWN_SIDE)
  white = small._replace(albedo=exposed(small.albedo, photographs.white_of(small)))
  relit = photographs.lit(white, circling_lights(parts["light"].shape[2:]))
  for name, pictures, views in (
    ("relit", relit, parts["view"]), ("turned", photographs.lit(small), turning_views())
  ):
    frames = photographs.seen(pictures, small.depth, views, camera, own)
    save_gif(path(f"{name}.gif"), np.stack([_over_white(image, mask) for image, mask in frames]))


def _write_mesh(
  path: str, maps: photographs.Maps, colours: Float[np.ndarray, "1 N N C"], model: Any, lit: bool
) -> None:
  """With a texture where the format takes one, else with colours at the vertices of a finer mesh."""
  textured = mesh.suffix_of(path) == ".glb"
  small = photographs.reduced(maps._replace(albedo=colours), MESH_SIDE if textured else COLOURED_SIDE)
  shown = colours if textured else small.albedo
  shown = np.broadcast_to(shown, (*shown.shape[:3], 3))[0]  # grey ones too
  side = model.element.shape[0]
  mesh.save(path, small.depth[0], shown, model.camera["fov"], model_side=side, lit=lit)


def _factors(
  source: str, parts: dict[str, np.ndarray], model: Any, white: dict[str, float]
) -> dict[str, Any]:
  """Light and view of one picture, and what the values of its PNGs mean; `white` is what 255 stands for."""
  return {
    "picture": source,
    "method": model.manifest["method"],
    "step": model.manifest.get("step"),
    "light": parts["light"][0].tolist(),
    "view": dict(zip(VIEW, parts["view"][0].tolist(), strict=True)),
    "units": {
      "light": "spherical harmonics, (l, m) in the order of CONVENTIONS.md",
      "view": "radians, model units",
      "mesh": "model units, see pdr_jax/exports/mesh.py",
    },
    "png": {
      "depth": {"0": model.camera["near"], "65535": model.camera["far"]},
      "albedo": {"0": 0.0, "255": white["albedo"]},
      "shading": {"0": 0.0, "255": white["shading"]},
      "normals": {"0": -1.0, "255": 1.0},
    },
  }


def circling_lights(colours: tuple[int, ...]) -> Float[np.ndarray, "N 9 ..."]:
  """A light that goes once around the line of sight, from the left over the top, `[FRAMES, 9, *colours]`."""
  from pdr_jax.render.lighting import directional_to_sh

  angle = np.arange(FRAMES) * (2 * np.pi / FRAMES)
  direction = np.stack([SLANT * np.cos(angle), SLANT * np.sin(angle), np.ones(FRAMES)], axis=-1).astype(
    np.float32
  )
  strengths = [np.full(FRAMES, strength, np.float32) for strength in (AMBIENT, DIFFUSE)]
  light = np.asarray(directional_to_sh(*strengths, direction))
  return np.broadcast_to(light.reshape(FRAMES, 9, *(1 for _ in colours)), (FRAMES, 9, *colours))


def turning_views() -> Float[np.ndarray, "N 6"]:
  """From the front to both sides and back, `[FRAMES, 6]`."""
  view = np.zeros((FRAMES, 6), np.float32)
  view[:, 1] = TURN * np.sin(np.arange(FRAMES) * (2 * np.pi / FRAMES))
  return view


def save_png(path: str, values: Float[np.ndarray, "S S C"]) -> None:
  """A picture in [-1, 1]."""
  _save(path, Image.fromarray(_bytes(values)), format="PNG")


def save_gif(path: str, frames: Float[np.ndarray, "N S S C"]) -> None:
  """Pictures in [-1, 1], enlarged to about `SHOWN_SIDE`, that follow each other without end."""
  pixels = _bytes(frames)
  side = pixels.shape[1] * max(1, round(SHOWN_SIDE / pixels.shape[1]))
  first, *rest = [Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC) for frame in pixels]
  _save(path, first, format="GIF", save_all=True, append_images=rest, duration=FRAME_MS, loop=0)


def _over_white(images: np.ndarray, mask: np.ndarray) -> np.ndarray:
  """Pictures that are white where the mask is 0."""
  return np.where(mask[..., None] > 0, images, 1.0)


def _bytes(values: np.ndarray) -> UInt8[np.ndarray, "..."]:
  """[-1, 1] to 0 ... 255, clipped; a single channel as Pillow takes it, without its axis."""
  pixels = np.rint(np.clip(values / 2 + 0.5, 0, 1) * 255).astype(np.uint8)
  return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _save(path: str, image: Image.Image, **how) -> None:
  buffer = io.BytesIO()
  image.save(buffer, **how)
  write_atomically(path, lambda file: file.write(buffer.getvalue()))
