"""Depth maps as coloured meshes in files: glTF (.glb), PLY and OBJ, the right way up where they are opened.

Vertices are in model units (the camera is at distance 1 from the pivot), with the pivot at the origin. From
the camera frame of CONVENTIONS.md (x right, y down, z forward, pivot (0, 0, 1)), by rotations:

    .glb, .obj  (x, -y, 1 - z): y up, the front looks along +z, as glTF asks; browsers show it so, and
                Blender's importers turn y to its z
    .ply        (x, z - 1, -y): z up, the front looks along -y, Blender's own frame; its importer turns
                nothing in a PLY

Faces wind counter-clockwise seen from outside, normals point outwards. PLY and OBJ keep the pictures' display
values as colours; glTF wants linear ones, so there they are decoded as sRGB.
"""

import os
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from pdr_jax.errors import UserError
from pdr_jax.files import write_atomically
from pdr_jax.render import camera, unwrap
from pdr_jax.render.depth_mesh import grid_faces

GREY = (0.3, 0.3, 0.35)  # of the surfaces of volumes
RIM = 2  # columns at the left and at the right that are no surface: PDR holds them at one depth
FRAMES = {  # columns: camera x, y, z - 1
  ".glb": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
  ".obj": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
  ".ply": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
}


def save(
  path: str,
  depth: Float[np.ndarray, "S S"],
  colours: Float[np.ndarray, "P P 3"],
  fov: float,
  *,
  model_side: int = 0,
  lit: bool = False,
) -> None:
  """Writes the mesh of a depth map.

  Args:
    path: its suffix, .glb, .ply or .obj, says the format; `UserError` for another.
    depth: z of every pixel, model units.
    colours: RGB display values in [-1, 1]; beyond, they are clipped. Of the same square as the depth map: at
      its side they are colours of vertices. A .glb takes them at any side, as a texture.
    fov: degrees, of the depth map's camera.
    model_side: side of the model's depth map, which this one is an enlargement of; 0: this is the model's.
    lit: the colours contain the light, so that a glTF viewer should show them as they are
      (KHR_materials_unlit).
  """
  write(path, mesh(depth, colours, fov, suffix_of(path), model_side), lit=lit)


def save_volume(
  path: str, density: Float[np.ndarray, "S S S"], *, level: float = 0.5, colour: tuple[float, ...] = GREY
) -> None:
  """Writes the surface where a density passes `level`, by marching cubes.

  Args:
    path: its suffix, .glb, .ply or .obj, says the format; `UserError` for another.
    density: axes z (forward), y (down), x (right); its cube reaches from -1 to 1 in the file.
    level: between 0 and 1. `UserError` where nothing of the density is above it.
    colour: of the whole surface, RGB display values in [-1, 1].
  """
  write(path, volume_mesh(density, level, colour, suffix_of(path)))


def suffix_of(path: str) -> str:
  """The suffix that says the format. Raises `UserError` for one that no mesh is written as."""
  suffix = os.path.splitext(path)[1].lower()
  if suffix not in FRAMES:
    raise UserError(f"{path}: a mesh is written as {', '.join(FRAMES)}")
  return suffix


def write(path: str, surface: Any, *, lit: bool = False) -> None:
  """Writes a `trimesh.Trimesh` whose frame is already that of the format."""
  from trimesh.exchange import gltf, obj, ply

  suffix = suffix_of(path)
  if suffix == ".glb":
    data = gltf.export_glb(
      surface.scene(), include_normals=True, tree_postprocessor=lambda tree: _add_material(tree, lit)
    )
  elif suffix == ".ply":
    data = ply.export_ply(surface, vertex_normal=True)
  else:
    data = obj.export_obj(surface, include_normals=True, include_color=True, header=None).encode()
  write_atomically(os.path.abspath(path), lambda file: file.write(data))


def volume_mesh(
  density: Float[np.ndarray, "S S S"], level: float, colour: tuple[float, ...], suffix: str
):
  """The closed `trimesh.Trimesh` around what is denser than `level`, its faces wound outwards."""
  import mcubes
  import trimesh

  density = np.asarray(density, np.float64)
  if not (density > level).any():
    raise UserError(f"no voxel is denser than {level:g}: the densest has {density.max():.2g}")
  with warnings.catch_warnings():  # PyMCubes 0.1.6 sets shapes of arrays, which NumPy 2.5 advises against
    warnings.simplefilter("ignore", DeprecationWarning)
    # A border of nothing closes what reaches the cube's faces.
    corners, faces = mcubes.marching_cubes(np.pad(density, 1), level)
  side = density.shape[0]
  points = (corners[:, ::-1] - 1 - (side - 1) / 2) * (2 / side)  # x, y, z
  points = points @ np.array(FRAMES[suffix], np.float64).T
  shown = np.clip(np.asarray(colour, np.float64) / 2 + 0.5, 0, 1)
  shown = srgb_to_linear(shown) if suffix == ".glb" else shown
  colours = np.tile(np.rint(shown * 255).astype(np.uint8), (len(points), 1))
  surface = trimesh.Trimesh(points, faces.astype(np.int64), vertex_colors=colours, process=False)
  if surface.volume < 0:
    surface.invert()
  return surface


def mesh(
  depth: Float[np.ndarray, "S S"],
  colours: Float[np.ndarray, "P P 3"],
  fov: float,
  suffix: str,
  model_side: int = 0,
):
  """The `trimesh.Trimesh` that goes into a file of this suffix.

  Its vertices are the pixels of the depth map without its rim, in reading order, with colours or, where the
  picture is larger than the depth map, with a texture.
  """
  import trimesh

  side = depth.shape[-1]
  own = model_side or side
  rim = -(-RIM * side // own)
  inner = slice(rim, side - rim)
  lens = unwrap.resized_camera(camera.pinhole(own, fov), own, side)
  points = np.asarray(camera.back_project(jnp.asarray(depth, jnp.float32), lens))[:, inner]
  points = (points.reshape(-1, 3) - (0.0, 0.0, camera.PIVOT_DEPTH)) @ np.array(FRAMES[suffix], np.float64).T
  # The grid's own winding is that of normals into the scene.
  faces = grid_faces(side, side - 2 * rim)[:, ::-1]
  shown = np.clip(np.asarray(colours, np.float64) / 2 + 0.5, 0, 1)
  if colours.shape[0] != side:
    surface = trimesh.Trimesh(points, faces, process=False)
    surface.visual = _texture(np.rint(shown * 255).astype(np.uint8), side, inner)
    return surface
  shown = shown[:, inner].reshape(-1, 3)
  if suffix == ".glb":
    shown = srgb_to_linear(shown)
  return trimesh.Trimesh(points, faces, vertex_colors=np.rint(shown * 255).astype(np.uint8), process=False)


def _texture(pixels: UInt8[np.ndarray, "P P 3"], side: int, inner: slice):
  """A picture on the vertices of a grid of `side`, whose columns `inner` are those of the mesh."""
  from PIL import Image
  from trimesh.visual import TextureVisuals
  from trimesh.visual.material import PBRMaterial

  across = (np.arange(side) + 0.5) / side
  u, v = np.meshgrid(across[inner], 1 - across)  # trimesh counts v upwards
  material = PBRMaterial(baseColorTexture=Image.fromarray(pixels))
  return TextureVisuals(np.stack([u.ravel(), v.ravel()], axis=-1), material=material)


def srgb_to_linear(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
  """Display values in [0, 1] to linear ones (IEC 61966-2-1)."""
  return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _add_material(tree: dict, lit: bool) -> None:
  """Without a material of its own, glTF's default one is a metal, which viewers show nearly black."""
  material = {"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}, "doubleSided": True}
  textured = (tree.get("materials") or [{}])[0].get("pbrMetallicRoughness", {})
  if "baseColorTexture" in textured:
    material["pbrMetallicRoughness"]["baseColorTexture"] = textured["baseColorTexture"]
  if lit:
    material["extensions"] = {"KHR_materials_unlit": {}}
    tree["extensionsUsed"] = ["KHR_materials_unlit"]
  tree["materials"] = [material]
  for entry in tree["meshes"]:
    for primitive in entry["primitives"]:
      primitive["material"] = 0
