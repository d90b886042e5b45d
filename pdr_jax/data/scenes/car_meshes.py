"""The embedded world `car_meshes`: any folder of car meshes, drawn as `embedded_cars` are.

The meshes may have different sizes; they have no parts. A mesh is an npz (V [N, 3] positions, F [M, 3] vertex
indices, optionally C [N, 3] uint8 colours of the vertices; any winding) or a glb (glTF 2.0), y up and its
front towards +z, as glTF has it; the unit of length does not matter. Edges are hard where a mesh has its
vertices twice there, as game models do; elsewhere normals are smooth.
"""

import functools
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds

from pdr_jax.data import splits
from pdr_jax.data.scenes import builder, car_mesh, cars, conditions, render_scene, sample
from pdr_jax.data.scenes.head_mesh import ShapeModel, incident_faces
from pdr_jax.errors import UserError

VERSION = "1.0.0"  # raise it whenever a drawn or rendered pixel changes: prepared copies are found by it
PARTS = ("background", "car")
LEAST = 3  # meshes: one for each of train, validation and test


def paint_mesh(coords, material, look) -> tuple:
  """The vertices' colours as they are; everything is `car`."""
  del material, look
  return tuple(jnp.clip(c, 0.02, 0.97) for c in coords), jnp.ones(coords[0].shape, jnp.uint8)


def read_mesh(file: pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
  """Positions [N, 3] float64, faces [M, 3], reflectances [N, 3] in [0, 1] or None. Raises UserError."""
  try:
    if file.suffix == ".npz":
      with np.load(file, allow_pickle=False) as archive:
        points, faces, colours = archive["V"], archive["F"], archive["C"] / 255.0 if "C" in archive else None
    else:
      import trimesh  # slow to import
      mesh = trimesh.load_scene(file, process=False).to_mesh()
      points, faces, colours = mesh.vertices, mesh.faces, None
      if mesh.visual.defined:
        visual = mesh.visual.to_color() if hasattr(mesh.visual, "to_color") else mesh.visual
        colours = np.asarray(visual.vertex_colors)[:, :3] / 255.0
  except (OSError, ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile) as error:
    raise UserError(
      f"data.path: {file} is no mesh ({str(error).splitlines()[0][:100]}): remove it, or make it an npz "
      "of V and F or a glb"
    ) from error
  points, faces = np.asarray(points, np.float64), np.asarray(faces, np.int64)
  good = (
    points.ndim == 2 and points.shape[1] == 3 and faces.ndim == 2 and faces.shape[1] == 3 and len(faces) > 0
  )
  if (
    not good
    or not np.isfinite(points).all()
    or faces.min() < 0
    or faces.max() >= len(points)
    or np.ptp(points[:, 2]) == 0
  ):
    raise UserError(
      f"data.path: {file} has positions {points.shape} and triangles {faces.shape} that make no mesh: remove "
      "it"
    )
  if colours is not None and colours.shape != points.shape:
    raise UserError(f"data.path: {file} has colours {colours.shape} for {len(points)} vertices: remove it")
  return points, faces, colours


def to_model(points: np.ndarray, faces: np.ndarray, colours: np.ndarray) -> ShapeModel:
  """A mesh on the ground, as long as an embedded car.

  Its one mode is its size: 10 per cent more at weight 1.
  """
  low, high = points.min(axis=0), points.max(axis=0)
  middle = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
  points = (points - middle) * (car_mesh.LENGTH / (high[2] - low[2]))
  a, b, c = np.moveaxis(points[faces] - [0, 0.6, 0], 1, 0)
  if (a * np.cross(b, c)).sum() > 0:  # into the car
    faces = faces[:, ::-1]
  faces = faces.astype(np.int32)
  vertices = car_mesh.to_canonical(points)
  size = 0.1 * (vertices - [0, 0, 1])
  return ShapeModel(
    vertices.astype(np.float32),
    faces,
    size[None].astype(np.float32),
    ("size",),
    colours.astype(np.float32),
    incident_faces(faces, len(points)),
  )


@functools.lru_cache(maxsize=1)
def read_folder(path: str) -> dict[str, ShapeModel]:
  """The meshes of a folder (not of those below it) by name, filled up to one size.

  Each mesh without colours gets a colour of its own. Raises UserError.
  """
  if not path:
    raise UserError("data.path is empty: data.name=car_meshes needs a folder of car meshes (npz or glb)")
  if not os.path.isdir(path):
    raise UserError(f"data.path={path} is no folder: give one of car meshes (npz or glb)")
  files = sorted(file for file in pathlib.Path(path).iterdir() if file.suffix in (".npz", ".glb"))
  if len(files) < LEAST:
    raise UserError(
      f"data.path={path} holds {len(files)} meshes (npz or glb): at least {LEAST} are needed, as train, "
      "validation and test share none"
    )
  models, palette = {}, list(cars.COLOURS.values())
  for k, file in enumerate(files):
    points, faces, colours = read_mesh(file)
    models[file.name] = to_model(
      points, faces, np.broadcast_to(palette[k % len(palette)], points.shape) if colours is None else colours
    )
  return _equal_sizes(models)


def _equal_sizes(models: dict[str, ShapeModel]) -> dict[str, ShapeModel]:
  """Fills models up to one size, so that one compiled function renders them all.

  It adds vertices that nothing uses and faces without area.
  """
  vertices, faces = (
    max(len(getattr(model, key)) for model in models.values()) for key in ("vertices", "faces")
  )
  around = max(model.incident.shape[1] for model in models.values())

  def fill(model: ShapeModel) -> ShapeModel:
    more = vertices - len(model.vertices)
    incident = np.where(model.incident == len(model.faces), faces, model.incident)
    return model._replace(
      vertices=np.pad(model.vertices, ((0, more), (0, 0)), mode="edge"),
      coords=np.pad(model.coords, ((0, more), (0, 0))),
      faces=np.pad(model.faces, ((0, faces - len(model.faces)), (0, 0))),
      modes=np.pad(model.modes, ((0, 0), (0, more), (0, 0))),
      incident=np.pad(incident, ((0, more), (0, around - incident.shape[1])), constant_values=faces).astype(
        np.int32
      ),
    )

  return {name: fill(model) for name, model in models.items()}


def members(names: list[str], split: str) -> list[int]:
  """Numbers of the meshes of a split, fixed by their names.

  A fifth is for the tests, a tenth for validation.
  """
  order = sorted(range(len(names)), key=lambda k: splits.rank(0, names[k]))
  test, validation = max(1, len(names) // 5), max(1, len(names) // 10)
  parts = {
    "test": order[:test],
    "validation": order[test : test + validation],
    "train": order[test + validation :],
  }
  return sorted(parts[split if split in parts else "test"])


def draw(names: list[str], seed: int, split: str, index: int) -> tuple[dict, dict]:
  """(scene, labels) of one image. The images that are rendered together show the same mesh."""
  rng = sample.generator(seed, split, index)
  chosen = members(names, split)
  car = chosen[index // builder.BATCH % len(chosen)]
  outside = conditions.beyond(rng, split)
  scene = {
    "weights": rng.uniform(-1, 0.5, 1).astype(np.float32),
    "look": {},
    **cars.draw_conditions(rng, outside),
    "mesh": car,
  }
  return scene, {"identity": car} | outside


def renderer(models: list[ShapeModel], side: int) -> Callable[[dict], dict]:
  """As `builder.renderer`, for stacked scenes that all show the mesh `mesh` [B]."""
  cpu = builder.host()
  arrays = [jax.device_put(model._replace(names=()), cpu) for model in models]

  @jax.jit
  def run(model, scene):
    return {
      **render_scene.quantize(render_scene.render(model, scene, side, paint_mesh)),
      "light": render_scene.light_coefficients(scene),
    }

  def render(scene):
    model = arrays[int(scene["mesh"][0])]
    return run(model, jax.device_put({name: value for name, value in scene.items() if name != "mesh"}, cpu))

  return render


class CarMeshes(builder.SceneBuilder):
  """Car meshes from a folder, with exact depth, normals, albedo and light."""

  VERSION = tfds.core.Version(VERSION)
  SPLITS = sample.SPLITS
  LABELS = ("identity",)
  FACTORS = ("light_outside", "view_outside")
  PARTS = PARTS

  @property
  def CLASSES(self) -> dict[str, tuple[str, ...]]:
    return {"identity": tuple(read_folder(self.builder_config.path))}

  @staticmethod
  def source(path: str) -> tuple[str, str]:
    """(absolute path, tag for the folder's name: the meshes' fingerprint).

    Raises UserError where there are none.
    """
    path, code = os.path.abspath(os.path.expanduser(path)) if path else "", 0
    for name, model in read_folder(path).items():
      code = zlib.crc32(
        model.coords.tobytes(), zlib.crc32(model.faces.tobytes(), zlib.crc32(model.vertices.tobytes(), code))
      )
      code = zlib.crc32(name.encode(), code)
    return path, f"_meshes{code:08x}"

  @functools.cached_property
  def _world(self):
    meshes = read_folder(self.builder_config.path)
    return functools.partial(draw, list(meshes), self.builder_config.scene_seed), renderer(
      list(meshes.values()), self.builder_config.side
    )
