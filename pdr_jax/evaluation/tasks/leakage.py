"""What each block of single frames tells of labels and places: does identity leak into pose, and back?

A method with two blocks, `content` and `pose`, is asked about single frames: who or what is in them, and
where it is. Linear probes and a perceptron with one hidden layer read each block (Denton and Birodkar 2017,
the protocol of their table of small NORB; its classifier is not published). Where the classes of the test
split are not those of train (objects held out), every other clip of each class in test takes the place of
train.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, Shaped

from pdr_jax.data import pipeline
from pdr_jax.errors import UserError
from pdr_jax.evaluation import batches, records
from pdr_jax.evaluation.features import Features, class_count, classified, people_in, select, subsets, take
from pdr_jax.evaluation.records import Result, Score
from pdr_jax.evaluation.task import Context, Job, Task
from pdr_jax.evaluation.tasks.linear import multi_class
from pdr_jax.evaluation.tasks.regression import regression
from pdr_jax.metrics.classification import decisions
from pdr_jax.metrics.samples import standardize

BLOCKS = ("content", "pose")
CLIP = "_clip"  # the label that says which clip a frame is of
TOGETHER = "_together"  # and this one, which frames are drawn together for intervals
YAW = 1  # of a view, in radians
TURN = "azimuth"  # labels that begin so are angles in degrees of a full turn
ENOUGH = 1_000  # frames to learn from, of which the perceptron can spare a tenth; fewer are all learned from
BATCHES = 10  # of the perceptron in an epoch, at least


def defaults() -> dict[str, Any]:
  return dict(
      clips=1_000,              # of each split, at most
      frames=2,                 # of each clip, spread over it
      hidden=128,               # of the perceptron; 0: linear probes alone
  )


class Frames(NamedTuple):
  """Features of single frames: of train and of test, or of both halves of test."""

  train: Features
  test: Features


def read(context: Context, split: str) -> Features:
  """The blocks of some frames of each clip of a split, with their labels and places."""
  settings, key = context.settings, context.representation.input
  encode, variables = jax.jit(context.representation.method.encode), context.representation.variables
  blocks: dict[str, list] = {}
  labels: dict[str, list] = {}
  count = 0
  info = pipeline.describe(context.run)
  wanted = [name for name in info.elements if name.split("/")[0] in ("label", "missing", "position", "view")]
  for batch in batches.of_split(context.run, context.representation.reads, split, wanted):
    keep = np.asarray(batch["_mask"]) > 0
    clips = np.asarray(batch[key])
    for t in np.unique(np.linspace(0, clips.shape[1] - 1, settings.frames).round().astype(int)):
      for name, block in encode(variables, clips[:, t : t + 1]).items():
        blocks.setdefault(name, []).append(np.asarray(block, np.float32)[keep])
      for name, values in _labels(batch, int(t), clips.shape[1]).items():
        labels.setdefault(name, []).append(values[keep])
      labels.setdefault(CLIP, []).append(count + np.arange(keep.sum(), dtype=np.int32))
    count += int(keep.sum())
    if count >= settings.clips:
      break
  classes = {name.removeprefix("label/"): names for name, names in info.classes.items() if names}
  joined = {name: np.concatenate(values) for name, values in labels.items()}
  whole = context.train if split == "train" else context.test
  joined[TOGETHER] = together(joined[CLIP], people_in(whole, context.config.identity))
  return Features({name: np.concatenate(parts) for name, parts in blocks.items()}, joined, classes)


def together(
  clips: Int[np.ndarray, " N"], people: Int[np.ndarray, " C"] | None
) -> Int[np.ndarray, " N"]:
  """The same number for all frames of a person, and of a clip of which nobody knows who is in it.

  `people` are those of all clips of the split, below 0 where nobody knows; None: of no clip.
  """
  if people is None:
    return clips
  who = people[clips]
  return np.where(who < 0, people.max() + 1 + clips, who).astype(np.int32)


def _labels(batch: Mapping, t: int, frames: int) -> dict[str, Shaped[np.ndarray, " B"]]:
  """The labels of frame t: those of the clip, and those of the frame. Angles are sine and cosine."""
  found = {}
  for key, value in batch.items():
    name, values = key.removeprefix("label/"), np.asarray(value)
    if key.startswith("label/") and f"missing/{name}" not in batch and values.ndim <= 2:
      values = values[:, t] if values.ndim == 2 and values.shape[1] == frames else values
      if values.ndim == 1:
        found |= _angle(name, np.deg2rad(values)) if name.startswith(TURN) else {name: _typed(values)}
    elif key == "position":
      places = values[:, t].reshape(len(values), -1)
      found |= {f"position_{i}": places[:, i].astype(np.float64) for i in range(places.shape[1])}
    elif key == "view":
      found["yaw"] = values[:, t, YAW].astype(np.float64)
  return found


def _angle(name: str, radians: Shaped[np.ndarray, " B"]) -> dict[str, Float[np.ndarray, " B"]]:
  return {f"{name}_sin": np.sin(radians), f"{name}_cos": np.cos(radians)}


def _typed(values: Shaped[np.ndarray, " B"]) -> Shaped[np.ndarray, " B"]:
  return values.astype(np.float64 if np.issubdtype(values.dtype, np.floating) else np.int32)


def halves(features: Features, label: str) -> Frames:
  """Frames of every other clip of each class, and those of the others; classes of one clip are left out.

  Raises `UserError` where every class has a single clip.
  """
  classes, clips = features.labels[label], features.labels[CLIP]
  turn = np.full(len(classes), -1)
  for value in np.unique(classes):
    rows = classes == value
    order = {clip: i for i, clip in enumerate(np.unique(clips[rows]))}
    if len(order) > 1:
      turn[rows] = [order[clip] % 2 for clip in clips[rows]]
  if not (turn >= 0).any():
    raise UserError(f"label {label!r}: its classes are not those of train, and each has one clip in test")
  return Frames(take(features, turn == 0), take(features, turn == 1))


def _numbered(frames: Frames, label: str) -> Frames:
  """The same with the classes of train numbered from 0, and without test frames of others."""
  present = np.unique(frames.train.labels[label])
  test = take(frames.test, np.isin(frames.test.labels[label], present))
  names = frames.train.classes.get(label)
  classes = {label: tuple(names[k] for k in present)} if names else {}

  def number(part: Features) -> Features:
    values = np.searchsorted(present, part.labels[label]).astype(np.int32)
    return part._replace(labels={label: values, TOGETHER: part.labels[TOGETHER]}, classes=classes)

  return Frames(number(frames.train), number(test))


def classify(train: Features, test: Features, label: str, hidden: int, seeds: Sequence[int]) -> Result:
  """Accuracy of a class from each block, with chance beside it."""
  kept_apart = not np.isin(test.labels[label], train.labels[label]).any()
  frames = _numbered(halves(test, label) if kept_apart else Frames(train, test), label)
  name = f"leakage/{label}"
  titles = {"accuracy": f"{label} from a block of single frames, accuracy"}
  words = {"seeds": seeds, "solvers": ["logistic"], "task": name, "headlines": titles, "identity": TOGETHER}
  result = multi_class(frames.train, frames.test, label, **words)
  scores = list(result.scores)
  if hidden:
    scores += perceptron(frames, label, name, hidden, seeds)
  protocol = result.protocol | {
    "description": "a class from the blocks of single frames",
    "gallery": "every other clip of each class in test" if kept_apart else "train",
    "chance": 1 / class_count(label, frames.train), "hidden": hidden,
  }
  return result._replace(task=name, protocol=protocol, scores=tuple(scores))


def perceptron(
  frames: Frames, label: str, task: str, hidden: int, seeds: Sequence[int]
) -> list[Score]:
  """The same by a perceptron with one hidden layer: scikit-learn's, Adam, stopped by a tenth held out, or
  where frames are few by the loss.
  """
  from sklearn.neural_network import MLPClassifier  # slow to import

  train, test = classified(frames.train, frames.test, [label])
  scores, count = [], len(train.labels[label])
  batch = min(200, max(1, count // BATCHES))
  spare = count >= ENOUGH
  words = {"early_stopping": spare, "batch_size": batch, "max_iter": 100 if spare else 400}
  for block, subset in subsets(train.blocks).items():
    inputs, queries = standardize(select(train, subset), select(test, subset))
    runs = []
    for seed in seeds:
      net = MLPClassifier((hidden,), random_state=seed, **words)
      predicted = net.fit(inputs, train.labels[label]).predict(queries)
      runs.append(decisions(test.labels[label], _int(predicted)))
    scores += records.of_runs(task, label, block, runs, prefix="perceptron/")
  return scores


def _int(values: np.ndarray) -> Int[np.ndarray, " N"]:
  return values.astype(np.int32)


def measure(train: Features, test: Features, label: str, seeds: Sequence[int]) -> Result:
  """R2 of a number from each block, by ridge regression."""
  result = regression(train, test, label, seeds=seeds, identity=TOGETHER)
  name = f"leakage/{label}"
  titles = {"r2": f"{label} from a block of single frames, R2"}
  scores = tuple(
    score._replace(task=name, headline=titles.get(score.metric, "")) for score in result.scores
  )
  protocol = result.protocol | {"description": "a number from the blocks of single frames"}
  return result._replace(task=name, protocol=protocol, scores=scores)


def is_asked(label: str, asked: Sequence[str]) -> bool:
  """Whether a label is among those that the user names, none being all: `azimuth_deg` asks for its sine."""
  return not asked or label in asked or label.rpartition("_")[0] in asked


def jobs(context: Context) -> Iterator[Job]:
  """One for each label and each coordinate, for a method with the blocks content and pose."""
  if not set(BLOCKS) <= context.train.blocks.keys() or context.representation.method is None:
    return
  train, test = read(context, "train"), read(context, context.test_split)
  hidden, seeds = context.settings.hidden, context.seeds
  asked = list(context.config.labels)
  for label, values in train.labels.items():
    if label in (CLIP, TOGETHER) or not is_asked(label, asked) or len(np.unique(values)) < 2:
      continue
    if np.issubdtype(values.dtype, np.integer):
      yield f"leakage/{label}", lambda label=label: classify(train, test, label, hidden, seeds)
    else:
      yield f"leakage/{label}", lambda label=label: measure(train, test, label, seeds)


TASK = Task(jobs, defaults, order=92)
