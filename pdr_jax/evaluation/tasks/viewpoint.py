"""Viewpoint: how right predicted angles are, after a fit to few labelled pictures.

The protocol is that of SSV (arXiv 2004.01793): a line for each angle, fitted to a small labelled set, and the
mean absolute error on others. Beside it one affine map of all angles, ridge regression from each block to the
angles with the same pictures, and the mean of those pictures. They are of train: nothing is fitted to the
test split. Where azimuths fill the circle the line is a direction and an offset, see `metrics.viewpoint`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.evaluation import batches, records
from pdr_jax.evaluation.features import Features, check, labelled, people_in, select, size, subsets
from pdr_jax.evaluation.probes import ridge
from pdr_jax.evaluation.records import Figure, Outcomes, Result, Score
from pdr_jax.evaluation.task import Context, Job, Task
from pdr_jax.metrics import viewpoint as metrics
from pdr_jax.metrics.samples import standardize

ANGLES = ("azimuth", "elevation", "tilt")
# Labels that say the angles; the first of these whose azimuth there is. `view/N` are exact.
LABELS = (
  ("azimuth", "elevation", "tilt"),
  ("azimuth_deg", "elevation_deg", "tilt_deg"),
  ("view/1", "view/0", "view/2"),
  ("yaw_deg", "pitch_deg", "roll_deg"),
  ("yaw", "pitch", "roll"),
  ("pan", "tilt", ""),
)
TURNTABLE = ("azimuth", "azimuth_deg")  # labels of turns about the object's own axis, before the elevation
RADIANS = "view/"  # how labels in radians begin; others are in degrees
LINE, AFFINE, GUESS = "own angles, a line each", "own angles, one affine map", "mean of the labelled"
TITLED = 100  # labelled pictures of the scores that a study shows
LOWER = ("mean_absolute_error", "median_error", "axis_error", "reversed", "geodesic_error")


def defaults() -> dict[str, Any]:
  return dict(
      sizes=(10, 100, 1_000),   # labelled pictures that are fitted to
      azimuth="",               # the label of each angle; all empty: usual names, exact truth included
      elevation="",
      tilt="",
  )


class Split(NamedTuple):
  """What a split has: true angles, radians, the method's own ones (None where it has none), and features."""

  angles: tuple[str, ...]
  true: Float[np.ndarray, "N A"]
  own: Float[np.ndarray, "N 3"] | None
  features: Features


def labels_of(features: Features, settings: ConfigDict, others: Collection[str] = ()) -> dict[str, str]:
  """`{angle: label}` of the angles that a split says and that vary; numbers alone. Raises `UserError`.

  `others` have such a name and are of something else, such as the light; only settings may name them.
  """
  def varies(name: str) -> bool:
    values = features.labels.get(name)
    return values is not None and values.dtype.kind == "f" and bool(np.nanstd(values) > 1e-6)

  asked = {angle: settings[angle] for angle in ANGLES if settings[angle]}
  for angle, name in asked.items():
    if name not in features.labels:
      known = ", ".join(sorted(features.labels)) or "none"
      raise UserError(f"config.viewpoint.{angle} = {name!r}: the data has the labels {known}")
  viewed = [tuple("" if name in others else name for name in names) for names in LABELS]
  usual = next((names for names in viewed if varies(names[0])), ("", "", ""))
  chosen = asked or dict(zip(ANGLES, usual, strict=True))
  return {angle: name for angle, name in chosen.items() if varies(name)}


def own_angles(context: Context) -> Callable[[np.ndarray], np.ndarray] | None:
  """`pictures -> azimuth, elevation, tilt [B, 3]` of a method that says them, None of others.

  They are `angles` of its decomposition, the angles of its `view`, or its `azimuth` alone.
  """
  model = context.representation
  if model.method is None or model.method.decompose is None:
    return None
  element = model.reads[model.input]
  example = jax.ShapeDtypeStruct((1, *element.shape), element.dtype)
  parts = jax.eval_shape(model.method.decompose, model.variables, example)

  def angles(pictures):
    said = model.method.decompose(model.variables, pictures)
    if "angles" in said:
      return said["angles"]
    if "view" in said:
      return said["view"][:, jax.numpy.array([1, 0, 2])]
    return jax.numpy.pad(said["azimuth"][:, None], ((0, 0), (0, 2)))

  return jax.jit(angles) if {"angles", "view", "azimuth"} & parts.keys() else None


def read(context: Context, split: str, features: Features, labels: Mapping[str, str]) -> Split:
  """A split without the examples that lack one of the angles."""
  said, key = own_angles(context), context.representation.input
  known = np.ones(size(features), bool)
  for name in labels.values():
    known &= ~features.missing.get(name, np.zeros(size(features), bool))
  own = None
  if said is not None:
    parts = [
      np.asarray(said(batch[key]))[np.asarray(batch["_mask"]) > 0]
      for batch in batches.of_split(context.run, context.representation.reads, split, ())
    ]
    own = np.concatenate(parts).astype(np.float64)[known]
  features = labelled(features, list(labels.values()))
  true = [features.labels[name] if name.startswith(RADIANS) else np.deg2rad(features.labels[name])
          for name in labels.values()]
  return Split(tuple(labels), np.stack(true, axis=1).astype(np.float64), own, features)


def viewpoint(context: Context, labels: Mapping[str, str]) -> Result:
  """Every fit at every number of labelled pictures. Raises `UserError` where there are too few."""
  for split, part in (("train", context.train), (context.test_split, context.test)):
    check(part, split, list(labels.values()))
  train = read(context, "train", context.train, labels)
  test = read(context, context.test_split, context.test, labels)
  sizes = [count for count in context.settings.sizes if count <= len(train.true)]
  if not sizes or min(sizes) < 5 or len(test.true) < 2:
    raise UserError(
      f"config.viewpoint.sizes = {tuple(context.settings.sizes)}: train has {len(train.true)} pictures with"
      f" {', '.join(labels)}, and test {len(test.true)}; a fit needs at least 5"
    )
  circle = np.array([
    angle == "azimuth" and metrics.goes_round(train.true[:, i]) for i, angle in enumerate(labels)
  ])
  people = people_in(test.features, context.config.identity)
  inputs = {  # how much a number varies, pictures without a label say as well
    block: standardize(select(train.features, subset), select(test.features, subset))
    for block, subset in subsets(train.features.blocks).items()
  }
  scores, outcomes, calibration = [], {}, {}
  for count in sizes:
    chosen = [np.random.default_rng(seed).permutation(len(train.true))[:count] for seed in context.seeds]
    calibration[str(count)] = [np.sort(rows).tolist() for rows in chosen]
    runs = [fits(train, test, inputs, rows, circle) for rows in chosen]
    for block in runs[0]:
      predicted = [run[block] for run in runs]
      named, used = of_fit(block, predicted, test.true, labels, circle, count, people)
      scores += named
      outcomes |= used
  protocol = {
    "description": "viewpoint after a fit to few labelled pictures of train; tested on the whole test split",
    "labels": list(labels.values()), "angles": list(labels), "sizes": sizes, "seeds": list(context.seeds),
    "train": len(train.true), "test": len(test.true), "full circle": bool(circle.any()),
    "standardised": "with the mean and deviation of all of train",
    "l2": list(ridge.L2), "selection": ridge.SELECTION_FROM_FEW,
    "subsets": {name: list(subset) for name, subset in subsets(train.features.blocks).items()},
  }
  figure = Figure(
    "curves", "mean_absolute_error", "Viewpoint after a fit to labelled pictures", "labelled pictures",
    "mean absolute error, degrees",
  )
  details = {"calibration": calibration}
  return Result("viewpoint", protocol, tuple(scores), details, figure, outcomes=outcomes)


def fits(
  train: Split, test: Split, inputs: Mapping[str, tuple[np.ndarray, np.ndarray]], rows: Int[np.ndarray, " n"],
  circle: Bool[np.ndarray, " A"],
) -> dict[str, Float[np.ndarray, "M A"]]:
  """What each fit to these pictures of train says of the test pictures' angles, by its name.

  `inputs` are the standardised features of train and test by block.
  """
  true = train.true[rows]
  said = {GUESS: np.repeat(metrics.as_angles(
    metrics.as_numbers(true, circle).mean(axis=0, keepdims=True), circle
  ), len(test.true), axis=0)}
  if train.own is not None:
    own = train.own[rows]
    columns = []
    for i, (angle, around) in enumerate(zip(train.angles, circle, strict=True)):
      fit, k = (metrics.fit_turn if around else metrics.fit_line), ANGLES.index(angle)
      columns.append(fit(own[:, k], true[:, i], test.own[:, k]))
    said[LINE] = np.stack(columns, axis=1)
    round_own = np.array([circle.any(), False, False])
    said[AFFINE] = metrics.fit_affine(own, true, test.own, circle, round_own)
  targets = metrics.as_numbers(true, circle)
  for block, (examples, queries) in inputs.items():
    numbers = ridge.predict_from_few(examples[rows], targets, queries, l2=ridge.L2).predicted
    said[block] = metrics.as_angles(np.asarray(numbers, np.float64), circle)
  return said


def of_fit(
  block: str, predicted: list[Float[np.ndarray, "M A"]], true: Float[np.ndarray, "M A"],
  labels: Mapping[str, str], circle: Bool[np.ndarray, " A"], count: int,
  people: Int[np.ndarray, " M"] | None = None,
) -> tuple[list[Score], dict[str, Outcomes]]:
  """The scores of a fit: of each angle, of their mean, and of the rotation where all three are known.

  `labels` are `{angle: label}`. Then what single pictures gave, of the scores that a study shows; `people`:
  who is on each.
  """
  key = "mean_absolute_error"
  # By label and metric the errors of single pictures, [seeds, angles, M].
  single: dict[str, dict[str, np.ndarray]] = {}
  for i, label in enumerate(labels):
    runs = [metrics.errors(run[:, i], true[:, i], bool(circle[i])) for run in predicted]
    single[label] = {name: np.stack([run[name] for run in runs])[:, None] for name in runs[0]}
  if len(labels) > 1:
    off = np.concatenate([single[label][key] for label in labels], axis=1)
    single["mean of the angles"] = {key: off}
  if tuple(labels) == ANGLES:
    turntable = labels["azimuth"] in TURNTABLE
    off = np.stack([metrics.geodesic(run, true, turntable) for run in predicted])[:, None]
    single["rotation"] = {"geodesic_error": off}
  scores, outcomes = [], {}
  for label, measured in single.items():
    for metric, values in measured.items():
      middle = np.median if metric == metrics.MEDIAN else np.mean
      title = f"{label}, {block}, {TITLED} labels, {metric.replace('_', ' ')}" if count == TITLED else ""
      score = Score(
        "viewpoint", label, block, f"{count}/{metric}", tuple(middle(values, axis=(1, 2)).tolist()),
        "lower" if metric in LOWER else "higher", title, float(count),
      )
      measure = "median" if metric == metrics.MEDIAN else "mean"
      given = records.outcomes_of(values, true.T, people=people, measure=measure)
      named, used = records.with_outcomes([score], {metric: given})
      scores += named
      outcomes |= used
  return scores, outcomes


def jobs(context: Context) -> Iterator[Job]:
  """One, where train says an angle."""
  if context.representation.input == "image":
    labels = labels_of(context.train, context.settings, context.config.light_angles)
    if labels:
      yield "viewpoint", lambda: viewpoint(context, labels)


TASK = Task(jobs, defaults, order=75)
