"""Pictures of a run for the report: what its model makes of validation images, factors swapped between them, and its worst cases."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pdr_jax.data import pipeline
from pdr_jax.evaluation import sources
from pdr_jax.methods import TrainState
from pdr_jax.report import figures
from pdr_jax.report.runs import Run

FACES = 24  # on the stage, of all runs together
GALLERY, SWAPPED, FAILURES = 8, 6, 8  # the first and the last equal: one compiled program serves both
SIDE, LOSS = "val/side", "val/reconstruction"  # what tells a failure: the error against truth where there is truth, else the loss


class Pictures(NamedTuple):
  """What is shown of a run; pictures are float32 in [-1, 1], see `figures.COLUMNS` for the columns.

  Attributes:
    step: of the checkpoint.
    gallery: `{column: [N,S,S,...]}` of the first validation images.
    swaps: `{"light" | "view": [A,B,S,S,3]}`, that factor of image B on image A; empty where the method has no renderer.
    failures: columns of the worst validation images, worst first; empty where no score tells images apart.
    score: the name of that score, and `scores` its values for `failures`, and `median` that over all images.
    faces: `{part: [N,...]}` of `decompose` for the stage, with `image`; empty where the method takes nothing apart.
    fov: degrees, of the camera.
  """

  step: int | None
  gallery: dict[str, np.ndarray]
  swaps: dict[str, np.ndarray]
  failures: dict[str, np.ndarray]
  score: str
  scores: list[float]
  median: float
  faces: dict[str, np.ndarray]
  fov: float


def of_run(run: Run, faces: int = FACES) -> Pictures:
  """Loads the best checkpoint and goes over the validation images. Raises `UserError` without checkpoint or data."""
  source = sources.of_run(run.config, run.workdir, "trained", "best")
  method, params = source.system, jax.device_put(source.params)
  batches = pipeline.validation_batches(run.config)
  images = _first(batches, max(GALLERY, SWAPPED, faces))
  gallery = _columns(figures.decompose(method, params, images[:GALLERY]))
  score, values, worst = _worst(method, params, batches)
  failures = _columns(figures.decompose(method, params, worst)) if score else {}
  shown, swaps = {}, {}
  if method.decompose is not None:
    parts = jax.device_get(jax.jit(method.decompose)(params, images))
    shown = {name: parts[name][:faces] for name in ("depth", "albedo", "normal", "light", "view")} | {"image": images[:faces]}
    if method.render is not None:
      swaps = swap(method, {name: value[:SWAPPED] for name, value in parts.items()})
  order = values[: len(worst)] if score else []
  return Pictures(source.step, gallery, swaps, failures, score, order, float(np.median(values)) if score else 0.0, shown,
                  float(run.config.get("scene", {}).get("fov", 10.0)))


def swap(method, parts: dict) -> dict[str, np.ndarray]:
  """`{"light", "view": [A,B,S,S,3]}`: image A with that factor of image B; what nothing is seen of is white."""
  count = len(parts["view"])
  a, b = (index.ravel() for index in np.divmod(np.arange(count * count), count))
  render = jax.jit(method.render)
  rows = {name: parts[name][a] for name in ("depth", "albedo", "canonical", "view")}
  swapped = {}
  for name in ("light", "view"):
    seen = jax.device_get(render(rows, **{name: parts[name][b]}))
    pixels = np.where(seen["mask"][..., None] > 0, seen["image"], 1.0)
    swapped[name] = pixels.reshape(count, count, *pixels.shape[1:])
  return swapped


def _first(batches, count: int) -> np.ndarray:
  """The first `count` images of a split, fewer in a smaller one."""
  images, have = [], 0
  for batch in batches:
    images.append(batch["image"][batch["_mask"] > 0])
    have += len(images[-1])
    if have >= count:
      break
  return np.concatenate(images)[:count]


def _worst(method, params, batches) -> tuple[str, list[float], np.ndarray]:
  """(score, its values over the split from bad to good, the worst images `[N,S,S,3]`); the score is empty where there is none.

  A batch of one image each time: `validate` then gives the score of that image alone.
  """
  state = TrainState(step=jnp.int32(0), params=params, opt_state=())
  alone = lambda row: method.validate(state, jax.tree.map(lambda leaf: leaf[None], row), None)
  each = jax.jit(jax.vmap(alone))
  keys = ("image", "depth", "mask", "_mask")
  first = {key: value for key, value in next(iter(batches)).items() if key in keys}
  names = jax.eval_shape(each, first)
  score = next((name for name in (SIDE, LOSS) if name in names), "")
  if not score:  # a contrast within a batch says nothing of one image
    return "", [], np.empty(0)
  values, images = [], []
  for batch in batches:
    total, count = each({key: value for key, value in batch.items() if key in keys})[score]
    counted = np.asarray(count) > 0
    values.append(np.asarray(total)[counted] / np.asarray(count)[counted])
    images.append(batch["image"][counted])
  values, images = np.concatenate(values), np.concatenate(images)
  order = np.argsort(-values, kind="stable")
  return score, values[order].tolist(), images[order[:FAILURES]]


def _columns(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """In the order of `figures.COLUMNS`, others after them."""
  return {name: columns[name] for name in (*(name for name in figures.COLUMNS if name in columns),
                                           *(name for name in columns if name not in figures.COLUMNS))}
