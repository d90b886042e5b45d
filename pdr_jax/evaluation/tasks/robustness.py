"""Robustness: probes that learn inside a range of light or viewpoint.

They are tested by how far an image lies outside of it.
"""

import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from pdr_jax.errors import UserError
from pdr_jax.evaluation import records
from pdr_jax.evaluation.features import (
    Features,
    absent,
    class_count,
    classified,
    concatenate,
    people_in,
    select,
    size,
    subsets,
    take,
)
from pdr_jax.evaluation.probes import linear_maps
from pdr_jax.evaluation.records import Figure, Outcomes, Result, Score
from pdr_jax.evaluation.task import ATTRIBUTES, Context, Job, Task, attributes, classes
from pdr_jax.metrics.classification import decisions
from pdr_jax.metrics.samples import split_off, standardize

FEWEST = 10  # images of a bin; a mean over fewer says little
INSIDE = "0"  # the bin of the images inside the range
KINDS = ("light", "view")
LIGHT_ANGLE = "_light_angle"  # a label that only this task reads


def defaults() -> dict[str, float]:
  """The section of the evaluation's configuration."""
  return dict(
      inside=25.0,  # degrees of the light to the camera's axis, with light_angles: what probes learn from
      width=10.0,   # degrees of a bin
  )


Fitted = dict[tuple, linear_maps.Models]  # by blocks, labels and number of classes


class Answers(NamedTuple):
  """What probes said of the examples of a bin.

  Attributes:
    right: of each seed and label, whether it was right.
    truth: the true class of each label.
    people: who is on each, or None.
  """

  right: Bool[np.ndarray, "S L M"]
  truth: Int[np.ndarray, "L M"]
  people: Int[np.ndarray, " M"] | None


def robustness(
    train: Features,
    inside: Features,
    outside: Features,
    degrees: Float[np.ndarray, " N"],
    *,
    kind: str = "light",
    single: Sequence[str] = (),
    several: Sequence[str] = (),
    width: float = 10.0,
    seeds: Sequence[int] = range(5),
    identity: str = "",
    fitted: Fitted | None = None,
) -> Result:
  """Logistic regression on train, scored inside the range, and outside of it in bins of `width` degrees.

  Args:
    train, inside: images within the range; `inside` is tested on as the point at 0 degrees.
    outside, degrees: images beyond it, and by how many degrees; those of 0 or less, or of unknown distance
      (NaN), do not count.
    kind: what the range is of, light or view.
    single: attributes (labels of 0 or 1), whose scores are averaged.
    several: labels of several classes, each for itself.
    identity: the label of the person, where people repeat.
    fitted: probes of earlier calls for the same `train` and `seeds`; new ones are added.

  Scores are `BIN/accuracy` and `BIN/balanced_accuracy`, such as `10-20/accuracy`, placed at the mean distance
  of the bin's images, and `outside/balanced_accuracy`, the mean over the bins. Bins of fewer than 10 images
  are left out. Raises `UserError` where no bin is left.
  """
  bins = _bins(degrees, width)
  if not bins:
    raise UserError(
        f"no {FEWEST} images lie outside of the training range within {width:g} degrees of each other"
    )
  parts = {INSIDE: inside, **{name: take(outside, rows) for name, rows in bins.items()}}
  places = {INSIDE: 0.0, **{name: float(degrees[rows].mean()) for name, rows in bins.items()}}
  tasks = ({ATTRIBUTES: list(single)} if single else {}) | {name: [name] for name in several}
  scores, outcomes, fitted = [], {}, {} if fitted is None else fitted
  for block, subset in subsets(train.blocks).items():
    for label, labels in tasks.items():
      curve, answers = _curve(train, parts, subset, labels, label != ATTRIBUTES, seeds, identity, fitted)
      for score in _records(kind, label, block, curve, places):
        given = {}
        if score.headline:
          bins = [INSIDE] if score.place is not None else [name for name in parts if name != INSIDE]
          given = {"balanced_accuracy": _outcomes([answers[name] for name in bins])}
        named, used = records.with_outcomes([score], given)
        scores += named
        outcomes |= used
  protocol = {
      "description": "robustness: logistic regression learned inside the range, tested by degrees outside",
      "labels": [*single, *several],
      "train": size(train),
      "examples": {name: size(part) for name, part in parts.items()},
      "bin_degrees": width,
      "seeds": list(seeds),
      "subsets": {name: list(subset) for name, subset in subsets(train.blocks).items()},
      "solvers": dict(linear_maps.SOLVERS["logistic"].protocol),
  }
  return Result(f"robustness/{kind}", protocol, tuple(scores), figure=_figure(kind), outcomes=outcomes)


def _figure(kind: str) -> Figure:
  return Figure(
      "curves",
      "balanced_accuracy",
      f"probes outside of the training range of {kind}",
      across="degrees outside of the training range",
      upwards="balanced accuracy",
  )


def _records(
    kind: str, label: str, block: str, curve: dict[str, list[dict[str, float]]], places: dict[str, float]
) -> list[Score]:
  """A curve, and its two ends for the study's table: inside the range, and the mean over the bins outside."""
  task, scores = f"robustness/{kind}", []
  for name, runs in curve.items():
    titles = {}
    if name == INSIDE:
      titles = {"balanced_accuracy": f"{label}, inside the range of {kind}, balanced accuracy"}
    scores += records.of_runs(
        task, label, block, runs, prefix=f"{name}/", headlines=titles, place=places[name]
    )
  beyond = [[run["balanced_accuracy"] for run in runs] for name, runs in curve.items() if name != INSIDE]
  means = tuple(float(value) for value in np.mean(beyond, axis=0))
  title = f"{label}, outside the range of {kind}, balanced accuracy"
  return [*scores, Score(task, label, block, "outside/balanced_accuracy", means, "higher", headline=title)]


def _bins(degrees: Float[np.ndarray, " N"], width: float) -> dict[str, np.ndarray]:
  """Rows by the name of their bin, such as "10-20", in ascending order."""
  number = np.where(degrees > 0, np.ceil(degrees / width), 0)  # NaN: 0
  bins = range(1, int(number.max(initial=0)) + 1)
  rows = {f"{(k - 1) * width:g}-{k * width:g}": np.flatnonzero(number == k) for k in bins}
  return {name: members for name, members in rows.items() if len(members) >= FEWEST}


def _curve(
    train: Features,
    parts: dict[str, Features],
    subset: Sequence[str],
    labels: list[str],
    exclusive: bool,
    seeds: Sequence[int],
    identity: str,
    fitted: Fitted,
) -> tuple[dict[str, list[dict[str, float]]], dict[str, Answers]]:
  """Scores of each seed by bin, and the answers that they are of.

  A label that a bin does not have at all is an error, examples without it do not count.
  """
  scores: dict[str, list[dict[str, float]]] = {}
  answers: dict[str, Answers] = {}
  for name, part in parts.items():
    known, tested = classified(train, part, labels)
    inputs, test_inputs = standardize(select(known, subset), select(tested, subset))
    count = class_count(labels[0], known, *parts.values()) if exclusive else 0
    key = tuple(subset), tuple(labels), count
    if key not in fitted:
      truth = np.stack([known.labels[label] for label in labels], axis=1)
      targets = np.eye(count, dtype=np.float32)[truth[:, 0]] if exclusive else truth.astype(np.float32)
      fitted[key] = linear_maps.logistic_models(inputs, targets, exclusive, list(seeds))
    models = fitted[key]
    maps = zip(models.coefficients, models.intercepts, strict=True)
    logits = [test_inputs @ w.T + b for w, b in maps]
    decided = [each.argmax(axis=1)[None] if exclusive else (each > 0).astype(np.int64).T for each in logits]
    truth = np.stack([tested.labels[label] for label in labels])
    scores[name] = [_score(truth, classes) for classes in decided]
    answers[name] = Answers(np.stack([c == truth for c in decided]), truth, people_in(tested, identity))
  return scores, answers


def _score(truth: Int[np.ndarray, "L M"], decided: Int[np.ndarray, "L M"]) -> dict[str, float]:
  each = [decisions(*pair) for pair in zip(truth, decided, strict=True)]
  metrics = ("accuracy", "balanced_accuracy")
  return {metric: float(np.mean([scores[metric] for scores in each])) for metric in metrics}


def _outcomes(bins: Sequence[Answers]) -> Outcomes:
  """Those of the mean over bins of the balanced accuracy of each label: a part for each label of each bin."""
  counts = [answers.truth.shape[1] for answers in bins]
  labels, count = len(bins[0].truth), sum(counts)
  right = np.zeros((len(bins[0].right), len(bins) * labels, count), bool)
  strata = np.full((len(bins) * labels, count), -1, np.int32)
  start = 0
  for number, (answers, size_of_bin) in enumerate(zip(bins, counts, strict=True)):
    part, rows = slice(number * labels, (number + 1) * labels), slice(start, start + size_of_bin)
    right[:, part, rows], strata[part, rows] = answers.right, answers.truth
    start += size_of_bin
  truth = np.concatenate([answers.truth for answers in bins], axis=1)
  known = [answers.people for answers in bins if answers.people is not None]
  people = np.concatenate(known) if known else None
  return records.outcomes_of(right, truth, strata=strata, people=people)


# ---------------------------------------------------------------- light by its labelled angles


def with_light(features: Features, angles: Sequence[str]) -> Features:
  """The labels `angles`, azimuth and elevation of the light, as the factor light and as `LIGHT_ANGLE`.

  Angles are in degrees, 0 is from the camera. The light travels along `light/0` to `light/2`, of length 1
  (CONVENTIONS.md); `LIGHT_ANGLE`, degrees, is between it and the camera's axis. Missing angles are missing in
  all.
  """
  unknown = [name for name in angles if name not in features.labels]
  if unknown or len(angles) != 2:
    raise UserError(
        f"config.light_angles = {tuple(angles)}: must name two labels, azimuth and elevation; the data has "
        f"{', '.join(sorted(features.labels)) or 'none'}"
    )
  for name in angles:
    if name in features.classes:
      change = shlex.quote(f"--config.data.label_kinds={name}:numbers")
      raise UserError(f"config.light_angles: label {name!r} holds classes, not degrees: {change}")
  azimuth, elevation = (np.deg2rad(features.labels[name].astype(np.float64)) for name in angles)
  # Extended Yale B: a positive azimuth lights the left of the picture, a positive elevation its top.
  direction = np.stack(
      [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
  )
  light = {f"light/{i}": part.astype(np.float32).astype(np.float64) for i, part in enumerate(direction)}
  light[LIGHT_ANGLE] = np.rad2deg(np.arccos(direction[2])).astype(np.float32).astype(np.float64)
  nowhere = absent(features, angles[0]) | absent(features, angles[1])
  others = {name: known for name, known in features.labels.items() if name not in angles}
  missing = {name: rows for name, rows in features.missing.items() if name not in angles}
  return features._replace(
      labels={**others, **light},
      missing=missing | (dict.fromkeys(light, nowhere) if nowhere.any() else {}),
  )


def by_light_angle(
    train: Features, test: Features, limit: float
) -> tuple[Features, Features, Features, Float[np.ndarray, " N"]]:
  """(train, inside, outside, degrees) for `robustness` from the images of both splits.

  Inside are a part of those within `limit` degrees, which the probes do not see; outside are all others.
  """
  both = concatenate(train, test)
  both = take(both, ~absent(both, LIGHT_ANGLE))
  beyond = both.labels[LIGHT_ANGLE] - limit
  within, outside = take(both, beyond <= 0), take(both, beyond > 0)
  if size(within) < 2 * FEWEST:
    raise UserError(
        f"config.robustness.inside = {limit:g}: only {size(within)} images have their light within so many "
        "degrees"
    )
  learned, held_out = split_off(size(within), linear_maps.HELD_OUT, 0)
  return take(within, learned), take(within, held_out), outside, beyond[beyond > 0]


# ---------------------------------------------------------------- jobs


def jobs(context: Context) -> Iterator[Job]:
  """One for the light and one for the view, where the data has pictures beyond the training range."""
  if context.config.light_angles:
    yield "robustness/light", lambda: _of_light_angles(context)
    return
  fitted: Fitted = {}  # the probes of light and of view are the same
  for kind in KINDS:
    if f"test_{kind}" in context.outside:
      yield f"robustness/{kind}", lambda kind=kind: _of_split(context, kind, fitted)


def _of_light_angles(context: Context) -> Result:
  identity = context.config.identity  # one person's pictures are on both sides of the limit
  also = [identity] if identity in context.train.labels else []
  return robustness(
      *by_light_angle(context.train, context.test, context.settings.inside),
      single=attributes(context),
      several=[*classes(context), *also],
      width=context.settings.width,
      **context.probes,
  )


def _of_split(context: Context, kind: str, fitted: Fitted) -> Result:
  outside = context.outside[f"test_{kind}"]()
  label = f"{kind}_outside"
  if label not in outside.labels:
    raise UserError(f"the split test_{kind} does not say by how many degrees it is outside (label {label})")
  degrees = np.where(absent(outside, label), np.nan, outside.labels[label].astype(np.float64))
  return robustness(
      context.train,
      context.test,
      outside,
      degrees,
      kind=kind,
      single=attributes(context),
      several=classes(context),
      width=context.settings.width,
      fitted=fitted,
      **context.probes,
  )


TASK = Task(jobs, defaults, order=60)
