"""Shapes against exact voxels: IoU after alignment, silhouettes from sides never seen, and where poses point.

The model has seen single pictures alone. Its volumes are turned and mirrored onto the truth, every one by
itself (`metrics.voxels`); the threshold of its densities is the best one of other pictures. Beside it stand
what needs no model (the mean shape, a sphere, the shape of the nearest training picture) and a bound: the
visual hull of the true silhouettes from twelve known azimuths.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int
from ml_collections import ConfigDict

from pdr_jax.data import normalized, pipeline, transforms
from pdr_jax.errors import UserError
from pdr_jax.evaluation import records
from pdr_jax.evaluation.features import people_in
from pdr_jax.evaluation.records import Outcomes, Result, Score
from pdr_jax.evaluation.representations import Representation
from pdr_jax.evaluation.task import Context, Job, Task
from pdr_jax.metrics import voxels
from pdr_jax.metrics.similarity import ssim

MODEL, HULL, MEAN, SPHERE, TRUTH = "model", "visual hull", "mean shape", "sphere", "truth"
NEAREST = "nearest training shape"
TITLES = {
  "iou": "voxels, IoU",
  "held_out_views/iou": "voxels, IoU of unseen views",
  "occupied": "voxels, occupied share",
  "views_alike": "voxels, IoU of a shape's own views",
  "pose/to_uniform": "pose, distance to even",
}
DENSE = 20.0  # absorption of an occupied voxel of the truth: nothing gets through
HULL_VIEWS = 12
AROUND = tuple(2 * np.pi * k / 8 for k in range(8))  # azimuths whose silhouettes are compared with each other
RADII = tuple(np.arange(0.3, 1.0, 0.05))  # of spheres, in half sides
PARTS = ("voxels", "azimuth")  # of a decomposition that this task scores
ROW = "_row"  # of a batch

Volumes = Callable[[Mapping[str, np.ndarray]], np.ndarray]  # a batch to densities [B, S, S, S]


def defaults() -> dict[str, Any]:
  """The section of the evaluation's configuration."""
  return dict(
      select=100,  # pictures that choose a threshold, of validation (of train, where that is tested on)
      most=400,    # pictures that are scored; both are drawn from all of their split
      angles=36,   # of the alignment, to a full turn
      views=8,     # azimuths of the silhouettes, evenly, half a step beside the picture's and on
  )


class Measured(NamedTuple):
  """Of one predictor: what each picture gave, and its threshold."""

  iou: Float[np.ndarray, " N"]
  views: Float[np.ndarray, " N"]
  occupied: Float[np.ndarray, " N"]
  alike: Float[np.ndarray, " N"]
  threshold: float


def shapes(
  run: ConfigDict,
  representation: Representation,
  split: str,
  settings: ConfigDict,
  say: Callable[[str], None] = print,
  people: Int[np.ndarray, " N"] | None = None,
) -> Result:
  """The scores of the model and of what stands beside it.

  `people` says of each picture of the split which shape it shows: pictures of one are drawn together for
  intervals. Raises `UserError` without exact voxels, or for a method without.
  """
  spec = pipeline.published(run, representation.reads)
  if "voxels" not in spec:
    raise UserError("the data has no exact voxels")
  decompose = decomposing(representation)
  kinds = [name for name, classes in pipeline.describe(run).classes.items() if classes]
  read = partial(taken, run, representation, ("voxels", "azimuth", *kinds))
  key = representation.input
  chosen_on = "validation" if split != "validation" else "train"
  select, test, train = read(chosen_on, settings.select), read(split, settings.most), read("train", 2_000)
  parts = [decompose(batch[key]) for batch in test]
  predicted = {id(batch): part["voxels"] for batch, part in zip(test, parts, strict=True)}
  predictors = beside(train, test[0]["voxels"].shape[1], key)

  def model(batch: Mapping[str, np.ndarray]) -> np.ndarray:
    return predicted[id(batch)] if id(batch) in predicted else decompose(batch[key])["voxels"]

  rows = np.concatenate([batch[ROW] for batch in test])
  shown = None if people is None else people[rows]
  scores, outcomes = [], {}
  for name, predict in ({MODEL: model} | predictors).items():
    say(f"  {name}")
    named, used = _records(name, measure(predict, select, test, settings, fixed=name == HULL), rows, shown)
    scores += named
    outcomes |= used
  scores += of_truth(test) + of_pictures(test, parts, key) + of_poses(test, parts)
  protocol = {
    "description": "voxels: IoU after the best azimuth and mirror of every picture; threshold chosen before",
    "test": sum(len(batch["voxels"]) for batch in test),
    "threshold": f"the best of {len(voxels.THRESHOLDS)} on {settings.select} pictures of {chosen_on}",
    "alignments": 2 * settings.angles,
    "views": settings.views,
    HULL: f"true silhouettes from {HULL_VIEWS} true azimuths",
  }
  return Result("voxels", protocol, tuple(scores), outcomes=outcomes)


def decomposing(representation: Representation) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
  """The model's parts of pictures. Raises `UserError` for a method that has no voxels."""
  method = representation.method
  if method is not None and method.decompose is not None:
    element = representation.reads[representation.input]
    example = jax.ShapeDtypeStruct((1, *element.shape), np.dtype(element.dtype))
    parts = jax.eval_shape(method.decompose, representation.variables, example)
    if all(name in parts for name in PARTS):
      run = jax.jit(method.decompose)
      return lambda images: jax.device_get(run(representation.variables, images))
  raise UserError("the method takes no picture apart into voxels")


def taken(
  run: ConfigDict, representation: Representation, keys: Collection[str], split: str, most: int
) -> list[dict[str, np.ndarray]]:
  """Batches of the pictures of a split that `drawn` chooses, without padding; `ROW` is their place in it."""
  part = normalized.splits(pipeline.open_dataset(run))[split]
  spec, wanted = pipeline.published(run, representation.reads), [*representation.reads, *keys]
  rows, size = drawn(part.size, most), run.train.batch_size
  places = [rows[i : i + size] for i in range(0, len(rows), size)]
  return [transforms.to_spec(part.load(some, wanted), spec) | {ROW: some} for some in places]


def drawn(size: int, most: int) -> np.ndarray:
  """Which pictures are read of so many: always the same, and in order.

  They are drawn from all, as a set sorted by class begins with the shapes of one.
  """
  return np.sort(np.random.default_rng(0).permutation(size)[:most])


# ---------------------------------------------------------------- predictors


def beside(train: list[dict[str, np.ndarray]], side: int, key: str) -> dict[str, Volumes]:
  """What stands beside the model, by name; the truth of the training pictures is theirs, not the model's."""
  shapes = np.concatenate([batch["voxels"] for batch in train])
  pictures = np.concatenate([batch[key].reshape(len(batch[key]), -1) for batch in train])
  average = shapes.mean(axis=0, dtype=np.float32)
  azimuths = np.arange(HULL_VIEWS, dtype=np.float32) * (2 * np.pi / HULL_VIEWS)
  # Radii as densities: a threshold then chooses the radius.
  balls = np.stack([voxels.sphere(side, float(radius)) for radius in RADII]).mean(axis=0, dtype=np.float32)

  @jax.jit
  def hull(truth: Array) -> Array:
    around = jnp.broadcast_to(azimuths[None], (truth.shape[0], HULL_VIEWS))
    seen = -jnp.expm1(-voxels.volume.ray_sums(DENSE * truth.astype(jnp.float32), around))
    return voxels.visual_hull(seen, around)

  def nearest(batch: Mapping[str, np.ndarray]) -> np.ndarray:
    rows = batch[key].reshape(len(batch[key]), -1)
    square = (rows**2).sum(1)[:, None] - 2 * rows @ pictures.T + (pictures**2).sum(1)[None]
    return shapes[square.argmin(axis=1)].astype(np.float32)

  def same(volume: np.ndarray) -> Volumes:
    return lambda batch: np.broadcast_to(volume, batch["voxels"].shape)

  return {
    HULL: lambda batch: np.asarray(hull(batch["voxels"])),
    MEAN: same(average),
    SPHERE: same(balls),
    NEAREST: nearest,
  }


# ---------------------------------------------------------------- scores


def measure(
  predict: Volumes, select: list[dict], test: list[dict], settings: ConfigDict, *, fixed: bool
) -> Measured:
  """Scores of a predictor on `test` at the best threshold of `select`; `fixed`: it is in the true frame."""
  angles = 1 if fixed else settings.angles
  every = jnp.asarray(voxels.THRESHOLDS, jnp.float32)
  compare = jax.jit(voxels.aligned_iou, static_argnames="angles")
  totals = sum(
    np.asarray(compare(predict(batch), batch["voxels"], every, angles=angles)).max(axis=1).sum(axis=0)
    for batch in select
  )
  threshold = float(every[int(np.argmax(totals))])
  ious, views, occupied, own = [], [], [], []
  for batch in test:
    density = jnp.asarray(predict(batch))
    scores = np.asarray(compare(density, batch["voxels"], jnp.asarray([threshold]), angles=angles))[..., 0]
    ious.append(scores.max(axis=1))
    occupied.append((np.asarray(density) > threshold).mean(axis=(1, 2, 3)))
    azimuths = unseen(batch["azimuth"], settings.views)
    compared = _views(density, scores.argmax(axis=1), threshold, batch, azimuths, angles)
    views.append(np.asarray(compared).mean(axis=1))
    own.append(alike(density > threshold))
  return Measured(*map(np.concatenate, (ious, views, occupied, own)), threshold)


def alike(shapes: ArrayLike) -> np.ndarray:
  """How far the silhouettes of occupied voxels agree from all sides, of each shape."""
  around = jnp.broadcast_to(jnp.asarray(AROUND, jnp.float32)[None], (len(shapes), len(AROUND)))
  return np.asarray(_compare_sides(DENSE * jnp.asarray(shapes, jnp.float32), around))


def unseen(azimuth: np.ndarray, count: int) -> np.ndarray:
  """So many azimuths around every picture's, half a step beside it and on."""
  steps = (np.arange(count, dtype=np.float32) + 0.5) * (2 * np.pi / count)
  return azimuth[:, None] + steps[None]


def _views(
  density: Array, choice: np.ndarray, threshold: float, batch: Mapping[str, np.ndarray],
  azimuths: np.ndarray, angles: int,
) -> Array:
  aligned = _align(density, choice, angles=angles)
  dense = DENSE * (aligned > threshold).astype(jnp.float32)
  return _compare_views(dense, DENSE * jnp.asarray(batch["voxels"], jnp.float32), azimuths)


_align = jax.jit(voxels.align, static_argnames="angles")
_compare_views = jax.jit(voxels.silhouette_iou)
_compare_sides = jax.jit(voxels.views_alike)


def _records(
  name: str, measured: Measured, rows: Int[np.ndarray, " N"], people: Int[np.ndarray, " N"] | None
) -> tuple[list[Score], dict[str, Outcomes]]:
  """The scores of a predictor, and of the model what single pictures gave, those in `rows` of the split."""
  values = {
    "iou": (measured.iou, "higher"),
    "held_out_views/iou": (measured.views, "higher"),
    "occupied": (measured.occupied, ""),
    "views_alike": (measured.alike, ""),
  }
  scores, outcomes = [], {}
  for metric, (each, direction) in values.items():
    title = TITLES.get(metric, "") if name == MODEL else ""
    score = Score("voxels", "", name, metric, (float(each.mean()),), direction, title)
    given = records.outcomes_of(each[None, None], rows[None], people=people)
    named, used = records.with_outcomes([score], {records.name(score): given})
    scores += named
    outcomes |= used
  return [*scores, Score("voxels", "", name, "threshold", (measured.threshold,), "")], outcomes


def of_truth(test: list[dict]) -> list[Score]:
  """What exact shapes score where there is nothing to compare with."""
  values = {
    "occupied": np.concatenate([batch["voxels"].mean(axis=(1, 2, 3)) for batch in test]),
    "views_alike": np.concatenate([alike(batch["voxels"]) for batch in test]),
  }
  return [Score("voxels", "", TRUTH, name, (float(value.mean()),), "") for name, value in values.items()]


def of_pictures(test: list[dict], parts: list[dict], key: str) -> list[Score]:
  """Squared error and SSIM of the projection and of the reconstruction, pictures in [0, 1]."""
  scores = []
  for name in ("projection", "reconstruction"):
    if name not in parts[0]:
      continue
    pairs = [((part[name] + 1) / 2, (batch[key] + 1) / 2) for part, batch in zip(parts, test, strict=True)]
    errors = np.concatenate([np.square(a - b).sum(axis=(1, 2, 3)) for a, b in pairs])
    similar = np.concatenate([np.asarray(ssim(jnp.asarray(a), jnp.asarray(b))) for a, b in pairs])
    scores.append(Score("voxels", "", MODEL, f"{name}/squared_error", (float(errors.mean()),), "lower"))
    scores.append(Score("voxels", "", MODEL, f"{name}/ssim", (float(similar.mean()),), "higher"))
  return scores


def of_poses(test: list[dict], parts: list[dict]) -> list[Score]:
  """The spread of the azimuths, over all pictures and of each, and how far they go with the true ones."""
  azimuth = np.concatenate([part["azimuth"] for part in parts])
  true = np.concatenate([batch["azimuth"] for batch in test])
  scores = {"pose/to_uniform": (voxels.distance_to_uniform(azimuth), "lower")}
  if "azimuth_draws" in parts[0]:
    draws = np.concatenate([part["azimuth_draws"] for part in parts])
    each = float(np.mean([voxels.distance_to_uniform(row) for row in draws]))
    scores["pose/to_uniform_of_one_picture"] = (each, "")
  scores["pose/agreement"] = (voxels.agreement(azimuth, true), "higher")
  labels = [name for name in test[0] if name.startswith("label/")]
  if labels:
    kinds = np.concatenate([batch[labels[0]] for batch in test])
    each = [voxels.agreement(azimuth[kinds == k], true[kinds == k]) for k in np.unique(kinds)]
    scores["pose/agreement_within_a_class"] = (float(np.mean(each)), "higher")
  return [
    Score("voxels", "", MODEL, metric, (value,), direction, TITLES.get(metric, ""))
    for metric, (value, direction) in scores.items()
  ]


def jobs(context: Context) -> Iterator[Job]:
  """One, for a trained method with voxels on data that has exact ones."""
  if context.representation.trained and "voxels" in pipeline.published(context.run):
    yield "voxels", lambda: shapes(
      context.run, context.representation, context.test_split, context.settings, context.say,
      people_in(context.test, context.config.identity),
    )


TASK = Task(jobs, defaults, order=75)
