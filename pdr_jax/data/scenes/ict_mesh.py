"""The ICT Face Model (light) as a ShapeModel.

Source: Li et al., "Learning Formation of Physically-Based Face Attributes", 2020.

The model: full meshes `generic_neutral_mesh.obj`, `identity000.obj` ... `identity099.obj` and one obj per
  expression, in centimetres, x to the picture's right, y up, z out of the face; here also packed as one npz
  of neutral, deltas and triangles. Of its parts only face, head and neck (the first 11,248 vertices) are
  used; eyeballs and a patch behind the lips are added, since without them one looks into the head.
"""

import pathlib
import zipfile

import numpy as np

from pdr_jax.data.scenes.head_mesh import UNIT, ShapeModel, hair_modes, incident_faces, to_canonical
from pdr_jax.data.scenes.paint import MOUTH_SINE
from pdr_jax.errors import UserError

SKIN_VERTICES = 11_248
NEUTRAL = "generic_neutral_mesh.obj"
WHAT = "the folder FaceXModel of the ICT-FaceKit release, or its packed npz"
# Centimetres to sculpting units (head_mesh.py): half a head, between the ears at the height of the eyes.
CENTIMETRES, ORIGIN = 11.05, np.array([0.0, 3.45, 1.69])
EYE = np.array([0.285, 0.0, 0.560])  # sculpting units, as the next
EYE_RADIUS = 0.131  # larger than anatomy, to close the corners of the eye
HAIR = ("hair_cap", "hair_top", "hair_long", "hair_wide", "hair_fringe")


def read(path: str) -> dict:
  """neutral [V, 3], faces [F, 3], identity [I, V, 3] and expression [E, V, 3] deltas, names (E strings).

  The deltas are float32, in centimetres.

  Raises UserError that names data.path and what belongs there.
  """
  if not path:
    raise UserError(f"data.path is empty: data.name=ict_faces needs {WHAT}")
  place = pathlib.Path(path).expanduser()
  if not place.exists():
    raise UserError(f"data.path={path} does not exist: give {WHAT}")
  if place.is_dir():
    inner = place / "FaceXModel"
    return _read_folder(inner if (inner / NEUTRAL).exists() else place, path)
  return _read_npz(place, path)


def _read_npz(place: pathlib.Path, path: str) -> dict:
  try:
    with np.load(place, allow_pickle=False) as archive:
      arrays = {
        key: archive[key] for key in ("neutral", "faces", "identity", "expression", "expression_names")
      }
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    raise UserError(
      f"data.path={path} is no packed ICT Face Model ({str(error).splitlines()[0][:100]}): give {WHAT}"
    ) from error
  neutral = arrays["neutral"].astype(np.float32)
  result = {
    "neutral": neutral,
    "faces": arrays["faces"].astype(np.int32),
    "names": tuple(str(n) for n in arrays["expression_names"]),
  }
  for key in ("identity", "expression"):
    result[key] = arrays[key].astype(np.float32)
    if result[key].shape[1:] != neutral.shape:
      raise UserError(
        f"data.path={path}: {key} has shape {arrays[key].shape}, which does not fit {len(neutral)} vertices"
      )
  return result


def _read_folder(folder: pathlib.Path, path: str) -> dict:
  if not (folder / NEUTRAL).exists():
    raise UserError(f"data.path={path} holds no {NEUTRAL}: give {WHAT}")
  neutral, faces = _read_obj(folder / NEUTRAL, with_faces=True)
  identity = sorted(folder.glob("identity*.obj"))
  expression = sorted(
    f for f in folder.glob("*.obj") if f.name != NEUTRAL and not f.name.startswith("identity")
  )
  if not identity:
    raise UserError(f"data.path={path} holds no identity000.obj ...: give {WHAT}")

  def deltas(files):
    result = np.zeros((len(files), *neutral.shape), np.float32)
    for k, file in enumerate(files):
      vertices, _ = _read_obj(file)
      if vertices.shape != neutral.shape:
        raise UserError(
          f"data.path={path}: {file.name} has {len(vertices)} of {len(neutral)} vertices; fetch it again"
        )
      result[k] = vertices - neutral
    return result

  return {"neutral": neutral, "faces": faces, "identity": deltas(identity), "expression": deltas(expression),
          "names": tuple(f.stem for f in expression)}


def _read_obj(file: pathlib.Path, with_faces: bool = False) -> tuple[np.ndarray, np.ndarray]:
  """The first SKIN_VERTICES vertices of an obj file, and the triangles among them.

  Vertices [V, 3] are float32, triangles [F, 3] int32; polygons become fans.
  """
  vertices, faces = [], []
  try:
    with open(file, encoding="ascii", errors="replace") as lines:
      for line in lines:
        if line.startswith("v "):
          if len(vertices) < SKIN_VERTICES:
            vertices.append(line.split()[1:4])
          elif not with_faces:
            break
        elif with_faces and line.startswith("f "):
          corners = [int(word.split("/")[0]) - 1 for word in line.split()[1:]]
          if max(corners) < SKIN_VERTICES:
            faces += [(corners[0], corners[k], corners[k + 1]) for k in range(1, len(corners) - 1)]
    return np.array(vertices, np.float32).reshape(-1, 3), np.array(faces, np.int32).reshape(-1, 3)
  except (OSError, ValueError) as error:
    raise UserError(f"data.path: {file} cannot be read ({error}); fetch it again") from error


# ---------------------------------------------------------------------------------------------- shape
def make_face(parts: dict) -> ShapeModel:
  """The shape model: skin seen from the front half, eyeballs, mouth patch; modes identity, expression (both
  as in `parts`), then hair.
  """
  neutral = (parts["neutral"].astype(np.float64) - ORIGIN) / CENTIMETRES
  modes = np.concatenate([parts["identity"], parts["expression"]]) / np.float32(CENTIMETRES)
  faces = _inward(neutral, parts["faces"])
  faces = faces[_in_front(neutral[faces].mean(axis=1))]
  hair = hair_modes(neutral, -_vertex_normals(neutral, faces))
  modes = np.concatenate([modes, np.stack([hair[name] for name in HAIR]).astype(np.float32)])
  coords = paint_coordinates(neutral)
  for extra in (_mouth(neutral, modes), _eyeball(neutral, modes, -1), _eyeball(neutral, modes, 1)):
    faces = np.concatenate([faces, extra[1] + len(neutral)])
    neutral, modes, coords = (
      np.concatenate([a, b], axis=-2) for a, b in ((neutral, extra[0]), (modes, extra[2]), (coords, extra[3]))
    )
  used, faces = np.unique(faces, return_inverse=True)
  faces = faces.reshape(-1, 3).astype(np.int32)
  flip = np.array([1, -1, -1], np.float32) * np.float32(UNIT)
  names = tuple(f"identity{k:03d}" for k in range(len(parts["identity"]))) + tuple(parts["names"]) + HAIR
  return ShapeModel(
    to_canonical(neutral[used]).astype(np.float32),
    faces,
    (modes[:, used] * flip).astype(np.float32),
    names,
    coords[used].astype(np.float32),
    incident_faces(faces, len(used)),
  )


def _in_front(points: np.ndarray) -> np.ndarray:
  """False for the back of the head and the foot of the neck, which no view shows."""
  around = np.degrees(np.arctan2(np.abs(points[..., 0]), points[..., 2]))
  return (around < 136) & (points[..., 1] > -1.75)


def _inward(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
  """Faces wound so that (b - a) x (c - a) points into the head.

  Here y is up, and the normal points against the outward direction.
  """
  a, b, c = np.moveaxis(points[faces], 1, 0)
  outward = ((b + a + c) / 3 * np.cross(b - a, c - a)).sum() > 0
  # `to_canonical` turns about x by 180 degrees: windings keep their sense.
  return faces[:, ::-1] if outward else faces


def _vertex_normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
  a, b, c = np.moveaxis(points[faces], 1, 0)
  normal, flat = np.zeros_like(points), np.cross(b - a, c - a)
  for k in range(3):
    np.add.at(normal, faces[:, k], flat)
  return normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)


def _bell(value, centre, width):
  return np.exp(-0.5 * ((value - centre) / width) ** 2)


def paint_coordinates(p: np.ndarray) -> np.ndarray:
  """Where `paint.py` should look for the paint of neutral points [N, 3].

  Its features lie a little elsewhere than this model's.
  """
  x, y, z = p.T.copy()
  ax, front = np.abs(x), z > 0.3
  eye = (
    _bell(ax, 0.285, 0.13) * _bell(y, 0.0, 0.075) * front
  )  # lids move out of the painted opening, which is the eyeball's
  x = x + np.sign(x) * 0.14 * (ax - 0.285) * eye
  y = y + 0.55 * y * eye
  y = y - 0.040 * _bell(y, 0.20, 0.07) * _bell(ax, 0.28, 0.28) * front  # brows
  y = y - 0.045 * _bell(y, -0.40, 0.04) * _bell(ax, 0.06, 0.06) * front  # nostrils
  mouth = np.exp(-0.5 * (ax / 0.28) ** 4) * _bell(y, -0.62, 0.11) * front
  x = x * (1 - 0.10 * mouth)
  line = -0.613 - 0.30 * ax**2                                          # between the lips
  radius = np.sqrt(x * x + line * line + z * z)
  shift = MOUTH_SINE * radius - line
  turn = (
    np.deg2rad(6.0) * _bell(np.degrees(np.arctan2(ax, z)), 72, 14) * (p[:, 1] < -0.1) * np.sign(x)
  )  # long hair begins further in front
  x, z = np.cos(turn) * x + np.sin(turn) * z, np.cos(turn) * z - np.sin(turn) * x
  return np.stack([x, y + shift * np.minimum(1.0, 1.2 * mouth), z], -1)


def _nearest(points: np.ndarray, target: np.ndarray) -> int:
  return int(np.argmin(((points - target) ** 2).sum(-1)))


def _grid_faces(rows: int, columns: int) -> np.ndarray:
  index = np.arange(rows * columns).reshape(rows, columns)
  a, b, c, d = (q.reshape(-1) for q in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
  return np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)])


def _eyeball(neutral, modes, side: int, rows: int = 12, columns: int = 16) -> tuple:
  """Front of a sphere: points, faces, modes and paint coordinates.

  It moves with the eyelids around it, rigidly.
  """
  centre = EYE * [side, 1, 1]
  polar, turn = np.linspace(0.0, 1.9, rows)[:, None], np.linspace(0, 2 * np.pi, columns)[None]
  ray = np.stack(
    [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar) + 0 * turn], -1
  ).reshape(-1, 3)
  points = centre + EYE_RADIUS * ray
  weight = (
    _bell(neutral[:, 0], centre[0], 0.09) * _bell(neutral[:, 1], 0.0, 0.06) * (neutral[:, 2] > 0.4) + 1e-12
  )
  motion = np.einsum("mvc,v->mc", modes, (weight / weight.sum()).astype(np.float32))
  expression = np.arange(len(modes)) >= 100  # lids move over the ball
  motion = np.where(expression[:, None], 0, motion)
  coords = np.stack(
    [centre[0] + 1.20 * (points[:, 0] - centre[0]), 0.004 + 0.95 * (points[:, 1] - 0.004), points[:, 2]], -1
  )
  return (
    points,
    _grid_faces(rows, columns),
    np.broadcast_to(motion[:, None], (len(modes), len(points), 3)),
    coords,
  )


def _mouth(neutral, modes, columns: int = 13) -> tuple:
  """A patch behind the lips, between them, which they stretch as they part.

  Teeth are above, darkness below.
  """
  across = np.linspace(-0.17, 0.17, columns)
  points, motions, coords = [], [], []
  for row, (height, lip) in enumerate(((0.07, 1), (-0.015, 1), (-0.02, 1), (-0.09, -1))):
    for x in across:
      line = np.array([x, -0.613 - 0.30 * x * x, 0.86 - 2.0 * x * x])
      anchor = _nearest(neutral, line + [0, 0.012 * lip, 0.03])
      points.append(line + [0, height, -0.08])
      motions.append(modes[:, anchor])
      target = np.array([x * 0.9, 0.0, 0.85 - 2.0 * x * x])
      target[1] = (
        MOUTH_SINE * np.sqrt((target**2).sum() / (1 - MOUTH_SINE**2))
        + (0.0045, 0.0010, -0.0010, -0.0045)[row]
      )
      coords.append(target)
  return np.array(points), _grid_faces(4, columns)[:, ::1], np.stack(motions, 1), np.array(coords)
