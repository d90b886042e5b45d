"""Scores that describe themselves, and the file of a task's result: the one schema of all evaluations.

`evaluation/TASK.json` holds one of

    {"format": 2, "task": "linear/emotion", "protocol": {}, "scores": [], "details": {}, "figure": {}}
    {"format": 2, "task": "segmentation", "protocol": {}, "skipped": "the data has no maps of classes"}
    {"format": 2, "task": "linear/emotion", "protocol": {}, "failed": "ValueError: ..."}

Tables, studies, figures and reports read the scores and know no task by name.
"""

import glob
import json
import os
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from pdr_jax.errors import UserError
from pdr_jax.files import write_atomically, write_json

FORMAT = 2  # of the file; the first had no records
DIRECTIONS = ("higher", "lower", "")


class Score(NamedTuple):
  """One number of an evaluation, over the seeds of its probe.

  Attributes:
    task: what was asked, such as `linear`, `robustness/light`.
    label: of the data, such as `emotion`; `attributes` for the mean over all of them.
    block: what was read: a feature block, several joined by `+`, or `all`; "" where there is none.
    metric: the metric's name, after the solver and whatever else tells numbers apart: `logistic/accuracy`.
    values: one for each probe seed.
    direction: which side is better, `higher` or `lower`; "" for a number without a better side.
    headline: title of its row in a study's table; "" where it is not shown there.
    place: where it stands on a curve (degrees outside, shots, steps); None for what is no curve.
  """

  task: str
  label: str
  block: str
  metric: str
  values: tuple[float, ...]
  direction: str
  headline: str = ""
  place: float | None = None


class Figure(NamedTuple):
  """How a result is drawn.

  Attributes:
    kind: `curves` (over `place`: one panel a label, one line a block) or `matrix` (blocks by labels).
    metric: which scores are drawn: for curves the last part of their metric, for a matrix all of it.
    title: what the figure shows.
    across, upwards: names of the curves' axes; `upwards` is also what a matrix' values are.
  """

  kind: str
  metric: str
  title: str
  across: str = ""
  upwards: str = ""


class Media(NamedTuple):
  """A picture or an animation that belongs to a result, as a file beside that of the result.

  Attributes:
    name: such as `grid.png` or `clips.gif`.
    title: what it shows.
    data: the file's bytes.
  """

  name: str
  title: str
  data: bytes


class Result(NamedTuple):
  """What a task gave.

  Attributes:
    task: name of the job, such as `linear/emotion`; that of the file has `_` for `/`.
    protocol: how it was measured: labels, sizes, solvers, selection; `description` in words.
    scores: the records.
    details: what else is worth keeping and no table shows.
    figure: how it is drawn, or None.
    skipped: why it could not run, "" where it did.
    failed: the exception that ended it, "" where none did.
    media: pictures and animations. Only their files' names and titles are in the result's file, as
      `details["media"]`.
  """

  task: str
  protocol: dict[str, Any]
  scores: tuple[Score, ...] = ()
  details: Mapping[str, Any] = types.MappingProxyType({})
  figure: Figure | None = None
  skipped: str = ""
  failed: str = ""
  media: tuple[Media, ...] = ()


def mean(score: Score) -> float:
  """Over the seeds."""
  return float(np.mean(score.values))


def deviation(score: Score) -> float | None:
  """The sample deviation (n - 1) over the seeds; None for a single one."""
  return float(np.std(score.values, ddof=1)) if len(score.values) > 1 else None


def of_runs(
    task: str,
    label: str,
    block: str,
    runs: Sequence[Mapping[str, float]],
    *,
    prefix: str = "",
    direction: str = "higher",
    headlines: Mapping[str, str] | None = None,
    place: float | None = None,
) -> list[Score]:
  """A score for each metric of `runs`, one dict of metrics a seed.

  `prefix` stands before each metric's name (`logistic/`); `headlines` names the metrics that a study shows.
  """
  titles = headlines or {}
  return [
      Score(
          task, label, block, prefix + name, tuple(float(run[name]) for run in runs), direction,
          titles.get(name, ""), place,
      )
      for name in runs[0]
  ]


def widest(blocks: Sequence[str]) -> str:
  """Which of these blocks stands for all features: `all`, or the one that joins most, or the only one."""
  return "all" if "all" in blocks else max(blocks, key=lambda block: block.count("+"))


def name(score: Score) -> str:
  """The metric alone: `logistic/accuracy` -> `accuracy`."""
  return score.metric.rpartition("/")[2]


# ---------------------------------------------------------------- files


def file_name(task: str) -> str:
  """`linear/emotion` -> `linear_emotion`, without a suffix."""
  return task.replace("/", "_")


MEDIA = "media"  # of the details: {file beside the result's: title}


def write(path: str, result: Result) -> None:
  """Writes a result, whole or not at all, after its pictures and animations."""
  names = {}
  for media in result.media:
    names[f"{file_name(result.task)}_{media.name}"] = media.title
    target = os.path.join(os.path.dirname(path), f"{file_name(result.task)}_{media.name}")
    write_atomically(target, lambda file, data=media.data: file.write(data))
  if names:
    result = result._replace(details=dict(result.details) | {MEDIA: names}, media=())
  value = {"format": FORMAT, "task": result.task, "protocol": result.protocol}
  if result.skipped or result.failed:
    value |= {"skipped": result.skipped} if result.skipped else {"failed": result.failed}
  else:
    value |= {"scores": [_plain(score) for score in result.scores], "details": dict(result.details)}
    value |= {"figure": result.figure._asdict()} if result.figure else {}
  write_json(path, value)


def read(path: str) -> Result:
  """Raises `UserError`, which names the file: it cannot be read, is damaged, or of another version."""
  try:
    value = json.loads(epath.Path(path).read_text())
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f"{path} cannot be read ({error})") from None
  except ValueError as error:
    raise UserError(f"{path} is not valid JSON ({error}): delete it and evaluate again") from None
  if not isinstance(value, dict):
    raise UserError(f"{path} is no result of an evaluation: delete it and evaluate again")
  if value.get("format", 1) != FORMAT:
    raise UserError(
        f"{path} was written by another version of pdr_jax (format {value.get('format', 1)}, this one reads "
        f"{FORMAT}): evaluate again"
    )
  try:
    return _from_plain(value)
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise UserError(
        f"{path} is damaged ({type(error).__name__}: {error}): delete it and evaluate again"
    ) from None


def read_folder(folder: str) -> dict[str, Result]:
  """The results in a folder by task, in the order of the files' names. Raises `UserError` as `read` does."""
  results = [read(path) for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*.json")))]
  return {result.task: result for result in results}


def _plain(score: Score) -> dict[str, Any]:
  """Without what is at its default: a file has thousands of scores."""
  value = score._asdict() | {"values": list(score.values)}
  return {key: entry for key, entry in value.items() if entry != Score._field_defaults.get(key, ...)}


def _from_plain(value: dict[str, Any]) -> Result:
  if "skipped" not in value and "failed" not in value and "scores" not in value:
    raise ValueError("it has neither scores nor a reason why there are none")
  figure = value.get("figure")
  return Result(
      task=_text(value["task"]),
      protocol=dict(value["protocol"]),
      scores=tuple(_score(entry) for entry in value.get("scores", ())),
      details=dict(value.get("details", {})),
      figure=Figure(**figure) if figure else None,
      skipped=_text(value.get("skipped", "")),
      failed=_text(value.get("failed", "")),
  )


def _score(entry: dict[str, Any]) -> Score:
  score = Score(**entry | {"values": tuple(float(number) for number in entry["values"])})
  for key in ("task", "label", "block", "metric", "headline"):
    _text(getattr(score, key))
  if score.direction not in DIRECTIONS or not score.values:
    raise ValueError(f"the score {score.metric} has no values, or its better side is {score.direction!r}")
  return score._replace(place=None if score.place is None else float(score.place))


def _text(value: Any) -> str:
  if not isinstance(value, str):
    raise ValueError(f"{value!r} should be text")
  return value
