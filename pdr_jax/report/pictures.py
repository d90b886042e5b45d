"""Pictures of a run for the report.

They show what its model makes of validation data, factors swapped, and its worst cases.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from pdr_jax import methods
from pdr_jax.data import pipeline, registry
from pdr_jax.errors import UserError
from pdr_jax.evaluation import batches as batch_lib
from pdr_jax.evaluation import representations
from pdr_jax.exports import photograph
from pdr_jax.methods import Method, TrainState, pictures_in_order
from pdr_jax.methods.voxels.pictures import lit
from pdr_jax.plots import sheets
from pdr_jax.report.runs import Run

FACES = 24  # on the stage, of all runs together
GALLERY, SWAPPED, FAILURES = 8, 6, 8  # the first and the last equal: one compiled program serves both
# What tells a failure: the error against truth where there is truth, else the loss.
SIDE, LOSS = "val/side", "val/reconstruction"
STAGE = ("depth", "albedo", "normal", "light", "view")  # the parts that the stage shows
SWAPS = ("light", "view")  # the parts that `render` takes in another's place
ANGLES, TURNS = ("azimuth", "elevation", "tilt"), 24  # of viewpoints that a method turns; pictures in a strip
FOV = 10.0  # degrees, where the method names no camera
LARGEST = 512  # pixels on a side of what the stage shows


class Pictures(NamedTuple):
  """What is shown of a run; pictures are float32 in [-1, 1], see `plots.sheets.COLUMNS` for the columns.

  Attributes:
    step: of the checkpoint.
    gallery: `{column: [N,S,S,...]}` of the first validation pictures.
    swaps: `{"light" | "view": [A,B,S,S,C]}`, that factor of picture B on picture A; empty where the method
      has no renderer.
    turned: `{angle: [A,TURNS,S,S,C]}`, the first pictures turned over the range that the model sees in
      validation pictures, the other angles as they are; of volumes `azimuth` alone, all around, as lit
      surfaces; empty where the method turns nothing.
    failures: columns of the worst validation pictures, worst first; empty where no score tells pictures
      apart.
    score: the name of that score.
    scores: its values for `failures`.
    median: of its values for all pictures.
    faces: `{part: [N,...]}` of `decompose` for the stage, with `image`; empty where the method takes nothing
      apart.
    fov: of the camera, in degrees.
  """

  step: int | None
  gallery: dict[str, np.ndarray]
  swaps: dict[str, np.ndarray]
  turned: dict[str, np.ndarray]
  failures: dict[str, np.ndarray]
  score: str
  scores: list[float]
  median: float
  faces: dict[str, np.ndarray]
  fov: float


class Worst(NamedTuple):
  """The worst examples by a score: its values over the split from bad to good, and the worst inputs."""

  score: str
  values: list[float]
  inputs: Float[np.ndarray, "N ..."]


def of_run(run: Run, faces: int = FACES) -> Pictures:
  """Loads the best checkpoint and goes over the validation data.

  Raises `UserError` without checkpoint or data.
  """
  model = representations.create(run.config, run.workdir, "trained", "best")
  method, variables = model.method, jax.device_put(model.variables)
  description = methods.describe(run.config.method)
  batches = batch_lib.of_split(run.config, {**description.reads(run.config), **model.reads}, "validation")
  inputs = _first(batches, max(GALLERY, SWAPPED, faces), model.input)
  show = jax.jit(lambda variables, inputs: columns(method, variables, inputs))
  worst = find_worst(method, variables, batches, model.input)
  failures = sheets.in_order(jax.device_get(show(variables, worst.inputs))) if worst.score else {}
  shown, swaps, turned = {}, {}, {}
  if method.decompose is not None:
    parts = jax.device_get(jax.jit(method.decompose)(variables, inputs))
    if all(name in parts for name in STAGE):
      shown = {name: parts[name][:faces] for name in STAGE} | {"image": inputs[:faces]}
      if description.camera is not None and "shading" in parts:
        photographs = at_own_resolution(run.config, model.input, faces) or inputs
        shown["albedo"] = sharp_albedo(photographs[:faces], parts, description.camera(run.config))
    if method.render is not None and all(name in parts for name in (*description.rendered, *SWAPS)):
      swaps = swap(method, {name: value[:SWAPPED] for name, value in parts.items()}, description.rendered)
    if method.turn is not None:
      turned = turns(method, variables, inputs[:SWAPPED], parts["angles"])
    elif "voxels" in parts:
      turned = volume_turns(parts["voxels"][:SWAPPED], parts["azimuth"][:SWAPPED])
  camera = description.camera
  return Pictures(
      step=model.step,
      gallery=sheets.in_order(jax.device_get(show(variables, inputs[:GALLERY]))),
      swaps=swaps,
      turned=turned,
      failures=failures,
      score=worst.score,
      scores=worst.values[: len(worst.inputs)],
      median=float(np.median(worst.values)) if worst.score else 0.0,
      faces=shown,
      fov=float(camera(run.config).fov) if camera else FOV,
  )


def at_own_resolution(config: ConfigDict, key: str, count: int) -> list[np.ndarray] | None:
  """The first validation pictures as their files have them, at up to `LARGEST` pixels.

  None where they are drawn and have no files, are normalised, are no larger there, or cannot be told to be
  the same pictures: a set that leaves broken files out has others than one that replaces them by the next.
  """
  crop = tuple(config.data.crop)
  side = min(LARGEST, crop[2] - crop[0], crop[3] - crop[1]) if crop else LARGEST
  if not registry.find(config.data.name).crops or side <= config.data.side:
    return None
  large = config.copy_and_resolve_references()
  # One picture to train with: as many as are asked for may be decoded at once.
  large.data.update(side=side, train_examples=1)
  reads = methods.describe(config.method).reads(large)
  try:
    photographs = list(_first(batch_lib.of_split(large, reads, "validation", ()), count, key))
  except UserError:  # the one picture to train with is broken, or normalised ones are kept at another side
    return None
  own, again = (pipeline.open_dataset(each).validation.size for each in (config, large))
  return photographs if own == again else None


def sharp_albedo(
  inputs: Sequence[Float[np.ndarray, "T T C"]], parts: Mapping[str, np.ndarray], camera: methods.Camera
) -> Float[np.ndarray, "B T T C"]:
  """The pictures themselves in canonical pose and without light, completed by the albedo of the model.

  `parts` are the model's of these pictures at its own side, and perhaps of more.
  """
  def one(i: int) -> np.ndarray:
    alone = {name: parts[name][i : i + 1] for name in photograph.SCENE}
    return photograph.unwrapped(inputs[i], alone, camera._asdict()).albedo[0]

  return np.stack([one(i) for i in range(len(inputs))])


def columns(method: Method, variables: dict, inputs: Array) -> dict[str, Array]:
  """The columns of a sheet: what the method shows of some inputs, and these where they are pictures."""
  shown = OrderedDict(input=inputs) if inputs.ndim == 4 else OrderedDict()
  return shown if method.pictures is None else shown | pictures_in_order(method)(variables, inputs)


def swap(
  method: Method, parts: Mapping[str, Array | np.ndarray], rendered: Sequence[str]
) -> dict[str, np.ndarray]:
  """`{"light", "view": [A,B,S,S,C]}`: picture A with that factor of picture B.

  `rendered` are the parts that the method renders. What nothing is seen of is white.
  """
  count = len(parts["view"])
  a, b = (index.ravel() for index in np.divmod(np.arange(count * count), count))
  render = jax.jit(method.render)
  rows = {name: parts[name][a] for name in rendered}
  swapped = {}
  for name in SWAPS:
    seen = jax.device_get(render(rows, **{name: parts[name][b]}))
    pixels = np.where(seen["mask"][..., None] > 0, seen["image"], 1.0)
    swapped[name] = pixels.reshape(count, count, *pixels.shape[1:])
  return swapped


def turns(
  method: Method, variables: dict, inputs: np.ndarray, seen: Float[np.ndarray, "N 3"]
) -> dict[str, np.ndarray]:
  """`{angle: [A,TURNS,S,S,C]}`: inputs with that angle from its smallest to its largest among those seen.

  `seen` are the angles of many pictures, of which the inputs are the first.
  """
  turn, turned = jax.jit(method.turn), {}
  for i, name in enumerate(ANGLES):
    if np.ptp(seen[:, i]) > 0:
      frames = []
      for angle in np.linspace(seen[:, i].min(), seen[:, i].max(), TURNS):
        angles = np.array(seen[: len(inputs)])
        angles[:, i] = angle
        frames.append(np.asarray(turn(variables, inputs, angles)))
      turned[name] = np.stack(frames, axis=1)
  return turned


def volume_turns(
  voxels: Float[np.ndarray, "A S S S"], azimuth: Float[np.ndarray, " A"]
) -> dict[str, Float[np.ndarray, "A TURNS h h 1"]]:
  """`{"azimuth"}`: volumes as lit surfaces, once around from the azimuths of their pictures (radians)."""
  show = jax.jit(lit)
  frames = [np.asarray(show(voxels, azimuth + 2 * np.pi * k / TURNS)) for k in range(TURNS)]
  return {"azimuth": np.stack(frames, axis=1)}


def _first(batches: Iterable[dict], count: int, key: str) -> np.ndarray:
  """The first `count` inputs of a split, fewer in a smaller one."""
  inputs, have = [], 0
  for batch in batches:
    inputs.append(batch[key][batch["_mask"] > 0])
    have += len(inputs[-1])
    if have >= count:
      break
  return np.concatenate(inputs)[:count]


def find_worst(method: Method, variables: dict, batches: Iterable[dict], key: str) -> Worst:
  """The worst examples of a split by what `validate` says of each alone.

  They have no score where it says nothing. A batch of one example each time: `validate` then gives the score
  of that example.
  """
  params = {name: tree for name, tree in variables.items() if name != "model_state"}
  state = TrainState(step=jnp.int32(0), params=params, model_state=variables.get("model_state", {}))

  def alone(row: dict) -> dict:
    return method.validate(state, jax.tree.map(lambda leaf: leaf[None], row), None)

  each = jax.jit(jax.vmap(alone))
  names = jax.eval_shape(each, _numbers(next(iter(batches))))
  score = next((name for name in (SIDE, LOSS) if name in names), "")
  if not score:  # a contrast within a batch says nothing of one example
    return Worst("", [], np.empty(0))
  values, inputs = [], []
  for batch in batches:
    total, count = each(_numbers(batch))[score]
    counted = np.asarray(count) > 0
    values.append(np.asarray(total)[counted] / np.asarray(count)[counted])
    inputs.append(batch[key][counted])
  values, inputs = np.concatenate(values), np.concatenate(inputs)
  order = np.argsort(-values, kind="stable")
  return Worst(score, values[order].tolist(), inputs[order[:FAILURES]])


def _numbers(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """A batch without names and other text, which no device takes."""
  return {name: value for name, value in batch.items() if np.asarray(value).dtype.kind in "biuf"}
