"""Scores that describe themselves, and the file of a task's result: the one schema of all evaluations.

`evaluation/TASK.json` holds one of

    {"format": 3, "task": "linear/emotion", "protocol": {}, "scores": [], "details": {}, "figure": {}}
    {"format": 3, "task": "segmentation", "protocol": {}, "skipped": "the data has no maps of classes"}
    {"format": 3, "task": "linear/emotion", "protocol": {}, "failed": "ValueError: ..."}

Tables, studies, figures and reports read the scores and know no task by name. What single examples gave lies
beside it, in `evaluation/TASK.outcomes.npz`; the scores of a study's table have it where it makes sense.
"""

import functools
import glob
import json
import os
import types
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from jaxtyping import Int, Shaped

from pdr_jax.errors import UserError
from pdr_jax.files import write_atomically, write_json, write_text
from pdr_jax.metrics import resampled

FORMAT = 3  # of the file; the first had no records, the second no outcomes of examples
READABLE = (2, 3)
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
    outcomes: the name of its outcomes in the result's; "" where there are none.
  """

  task: str
  label: str
  block: str
  metric: str
  values: tuple[float, ...]
  direction: str
  headline: str = ""
  place: float | None = None
  outcomes: str = ""


class Outcomes(NamedTuple):
  """What single test examples gave: enough to say how sure the difference of two scores is.

  The score is a measure of them, such as their mean (`metrics.resampled`).

  Attributes:
    values: of each probe seed: 1 where it was right, an error, a prediction, a cluster, numbers of pixels.
    strata: of each part the stratum of each example (its true class, where accuracy is balanced); -1: it does
      not count.
    clusters: of each example, the same for those that are drawn together (of one person); of pairs [2 N],
      those of both sides.
    examples: a checksum of the examples: outcomes of the same ones can be paired.
    truth: what is true of the examples, where the measure compares with it; else None.
    measure: its name.
  """

  values: Shaped[np.ndarray, "S P N"]
  strata: Int[np.ndarray, "P N"]
  clusters: Int[np.ndarray, "*sides N"]
  examples: str
  truth: Shaped[np.ndarray, "_ N"] | None = None
  measure: str = resampled.MEAN

  def __eq__(self, other: object) -> bool:
    if not isinstance(other, Outcomes) or (self.truth is None) != (other.truth is None):
      return False
    return all(np.array_equal(a, b) for a, b in zip(self, other, strict=True))

  def __ne__(self, other: object) -> bool:
    return not self == other

  __hash__ = None


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
    outcomes: of single examples, by the names that the scores give.
  """

  task: str
  protocol: dict[str, Any]
  scores: tuple[Score, ...] = ()
  details: Mapping[str, Any] = types.MappingProxyType({})
  figure: Figure | None = None
  skipped: str = ""
  failed: str = ""
  media: tuple[Media, ...] = ()
  outcomes: Mapping[str, Outcomes] = types.MappingProxyType({})


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


def outcomes_of(
    values: Shaped[np.ndarray, "S P N"],
    truth: Shaped[np.ndarray, "_ N"],
    *,
    strata: Int[np.ndarray, "P N"] | None = None,
    people: Int[np.ndarray, "*sides N"] | None = None,
    measure: str = resampled.MEAN,
) -> Outcomes:
  """Outcomes of examples whose truth is `truth`, which tells them from others.

  Without `strata` all examples of a part count alike. `people`: who is on each example, below 0 where nobody
  knows; without, no two examples belong together. Numbers are kept as float32. `truth` is kept where
  `measure` compares with it.
  """
  parts, count = values.shape[1:]
  strata = np.zeros((parts, count), np.int32) if strata is None else strata.astype(np.int32)
  clusters = np.arange(count, dtype=np.int32)
  if people is not None:
    known = people >= 0
    clusters = np.where(known, people, people.max(initial=0) + 1 + clusters).astype(np.int32)
  data = [np.ascontiguousarray(array).tobytes() for array in (truth, clusters)]
  examples = f"{count}_{zlib.crc32(data[1], zlib.crc32(data[0])):08x}"
  kept = None if measure in resampled.ALONE else _single(truth)
  return Outcomes(_single(values), strata, clusters, examples, kept, measure)


def _single(values: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
  """Float64 as float32, and others as they are."""
  return values.astype(np.float32) if values.dtype == np.float64 else values


def with_outcomes(
    scores: Sequence[Score], outcomes: Mapping[str, Outcomes]
) -> tuple[list[Score], dict[str, Outcomes]]:
  """The scores of one block and label, those shown in studies with a name for the outcomes of their metric.

  `outcomes` are by the last part of the metric (`accuracy`); returned are those that a score refers to.
  """
  named, used = [], {}
  for score in scores:
    if score.headline and name(score) in outcomes:
      key = "/".join(filter(None, (score.task, score.label, score.block, score.metric)))
      score, used[key] = score._replace(outcomes=key), outcomes[name(score)]
    named.append(score)
  return named, used


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
  if result.outcomes:
    arrays = {
        f"{key}:{part}": np.asarray(value)
        for key, outcomes in result.outcomes.items()
        for part, value in outcomes._asdict().items()
        if value is not None
    }
    write_atomically(_outcomes_beside(path), lambda file: np.savez_compressed(file, **arrays))
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
  if value.get("format", 1) not in READABLE:
    raise UserError(
        f"{path} was written by another version of pdr_jax (format {value.get('format', 1)}, this one reads "
        f"{' and '.join(map(str, READABLE))}): evaluate again"
    )
  try:
    return _from_plain(value)._replace(outcomes=_Stored(_outcomes_beside(path)))
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise UserError(
        f"{path} is damaged ({type(error).__name__}: {error}): delete it and evaluate again"
    ) from None


LISTED = "tasks.txt"  # of which model and data the results in a folder are, and their files, one a line


def list_results(folder: str, about: str, tasks: Iterable[str]) -> None:
  """Adds to what `read_folder` gives; a list that is not `about` the same model and data begins anew."""
  first, *names = _listed(folder) or [""]
  kept = names if first == about else []
  added = [f"{file_name(task)}.json" for task in tasks]
  write_text(os.path.join(folder, LISTED), "\n".join([about, *dict.fromkeys([*kept, *added])]) + "\n")


def about_of(folder: str) -> str:
  """The model and data that the results in a folder are of, as `list_results` was told; "" if it was not."""
  return (_listed(folder) or [""])[0]


def _listed(folder: str) -> list[str]:
  path = epath.Path(folder, LISTED)
  return path.read_text().splitlines() if path.exists() else []


def read_folder(folder: str) -> dict[str, Result]:
  """The results that are listed in a folder, or all, by task, in the order of the files' names.

  Raises `UserError` as `read` does.
  """
  paths, listed = sorted(glob.glob(os.path.join(glob.escape(folder), "*.json"))), _listed(folder)
  if listed:  # otherwise the folder is of an earlier version
    paths = [path for path in paths if os.path.basename(path) in listed]
  return {result.task: result for result in map(read, paths)}


def _outcomes_beside(path: str) -> str:
  return path.removesuffix(".json") + ".outcomes.npz"


class _Stored(Mapping):
  """The outcomes in a file, read when somebody asks; none where there is no file."""

  def __init__(self, path: str):
    self._path = path

  @functools.cached_property
  def _outcomes(self) -> dict[str, Outcomes]:
    parts: dict[str, dict[str, np.ndarray]] = {}
    try:
      with epath.Path(self._path).open("rb") as stored, np.load(stored) as file:
        for entry in file.files:
          key, _, part = entry.rpartition(":")
          parts.setdefault(key, {})[part] = file[entry]
    except FileNotFoundError:
      return {}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
      raise UserError(f"{self._path} is damaged ({error}): delete it and evaluate again") from None
    for each in parts.values():  # files of before have means alone, and no measure
      each |= {name: str(each.get(name, resampled.MEAN)) for name in ("examples", "measure")}
      if each["measure"] not in resampled.MEASURES:
        raise UserError(
            f"{self._path} was written by a later version of pdr_jax (measure {each['measure']!r}): use that"
        )
    return {key: Outcomes(**each) for key, each in parts.items()}

  def __getitem__(self, key: str) -> Outcomes:
    return self._outcomes[key]

  def __iter__(self) -> Iterator[str]:
    return iter(self._outcomes)

  def __len__(self) -> int:
    return len(self._outcomes)


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
  for key in ("task", "label", "block", "metric", "headline", "outcomes"):
    _text(getattr(score, key))
  if score.direction not in DIRECTIONS or not score.values:
    raise ValueError(f"the score {score.metric} has no values, or its better side is {score.direction!r}")
  return score._replace(place=None if score.place is None else float(score.place))


def _text(value: Any) -> str:
  if not isinstance(value, str):
    raise ValueError(f"{value!r} should be text")
  return value
