"""The content of one clip in the poses of another: a grid to look at, and what a judge says of such clips.

The judge learns labels and places from real clips of the training split. Of swapped clips it should find the
content's labels in the one clip (`content kept`), and motion and places in the other (`motion kept`). Where a
motion does not go over, it may be that of the content's clip (`motion of the content`). The judge's scores on
real test clips stand beside: no swap can be judged better than that.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import ArrayLike, Float

from pdr_jax.data import pipeline
from pdr_jax.errors import UserError
from pdr_jax.evaluation import batches, records
from pdr_jax.evaluation.features import people_in
from pdr_jax.evaluation.probes import judge as judges
from pdr_jax.evaluation.probes.linear_maps import softmax
from pdr_jax.evaluation.records import Media, Outcomes, Result, Score
from pdr_jax.evaluation.task import Context, Job, Task
from pdr_jax.plots import clips as pictures

ROWS, COLUMNS = 10, 10  # of the grid
SHOWN = 6  # clips in the animation
NUMBERS = ("position",)  # truth of each frame that a judge reads, in pixels
# Rows of the table.
REAL, CONTENT, MOTION, LEFT = (
  "real clips", "swapped, content kept", "swapped, motion kept", "swapped, motion of the content"
)  # fmt: skip


def defaults() -> dict[str, Any]:
  return dict(
      judge_steps=1_500,        # of the judge's training; 0: the grid alone
      pairs=500,                # swapped clips, and real ones, that are judged
      motion=("motion",),       # labels that say how a clip moves; all others say what is in it
  )


class Truth(NamedTuple):
  """What a judge learns.

  Attributes:
    classes: number of classes by key of a batch.
    numbers: numbers in a frame by key.
    motion: the keys of both kinds that say how a clip moves.
    scale: what numbers are divided by.
  """

  classes: dict[str, int]
  numbers: dict[str, int]
  motion: frozenset[str]
  scale: dict[str, float]


def truth_of(context: Context) -> Truth:
  """The labels of clips and numbers of frames that the data has, but for who is in it."""
  info = pipeline.describe(context.run)
  classes = {
    key: len(names) for key, names in info.classes.items()
    if names and key.startswith("label/") and info.elements[key].shape == ()
    and f"missing/{key.removeprefix('label/')}" not in info.elements
  }
  numbers = {
    key: int(np.prod(info.elements[key].shape[1:])) for key in NUMBERS if key in info.elements
  }
  motion = {f"label/{name}" for name in context.settings.motion} & classes.keys() | numbers.keys()
  return Truth(classes, numbers, frozenset(motion), {key: float(context.run.data.side) for key in numbers})


def swaps(context: Context) -> Result:
  """The grid, the animation, and the judge's scores where the data has labels."""
  test = _clips(context, max(context.settings.pairs, ROWS + 1))
  swap = jax.jit(context.representation.method.swap)
  media = draw(context, swap, test[context.representation.input])
  truth = truth_of(context)
  scores: list[Score] = []
  outcomes: dict[str, Outcomes] = {}
  if context.settings.judge_steps and (truth.classes or truth.numbers):
    scores, outcomes = judged(context, swap, test, truth)
  protocol = {
    "description": "content of one clip in the poses of another; a judge trained on real clips",
    "labels": [*truth.classes, *truth.numbers], "motion": sorted(truth.motion),
    "judge_steps": context.settings.judge_steps, "seeds": list(context.seeds) if scores else [],
    "test": min(len(test[context.representation.input]), context.settings.pairs),
  }
  return Result("swaps", protocol, tuple(scores), media=media, outcomes=outcomes)


def _clips(context: Context, count: int) -> dict[str, np.ndarray]:
  """The first so many test clips, with their labels."""
  truth, parts, have = truth_of(context), [], 0
  wanted = [*truth.classes, *truth.numbers]
  for batch in batches.of_split(context.run, context.representation.reads, context.test_split, wanted):
    keep = np.asarray(batch["_mask"]) > 0
    parts.append({key: np.asarray(value)[keep] for key, value in batch.items() if key != "_mask"})
    have += int(keep.sum())
    if have >= count:
      break
  joined = {key: np.concatenate([part[key] for part in parts])[:count] for key in parts[0]}
  if len(next(iter(joined.values()))) < 2:
    raise UserError(f"the {context.test_split} split has fewer than two clips: there is nothing to swap")
  return joined


def unit_range(context: Context, clips: Float[ArrayLike, "..."]) -> Float[np.ndarray, "..."]:
  """Pictures in [0, 1], whatever range the method reads."""
  low, high = context.representation.reads[context.representation.input].range or (0.0, 1.0)
  return np.clip((np.asarray(clips) - low) / (high - low), 0, 1)


def draw(context: Context, swap: Any, clips: Float[np.ndarray, "N T S S C"]) -> tuple[Media, ...]:
  """The grid as PNG; and as GIF clips with the content of the next one, in time."""
  count, steps = min(ROWS, len(clips) - 1), np.linspace(0, clips.shape[1] - 1, COLUMNS).round().astype(int)
  steps = np.unique(steps)
  variables = context.representation.variables
  contents = clips[1 : count + 1]
  poses = np.repeat(clips[:1][:, steps], count, axis=0)
  cells = swap(variables, contents, poses)
  show = [unit_range(context, part) for part in (contents[:, 0], clips[0, steps], cells)]
  grid = pictures.png(pictures.swap_grid(*show))
  chosen = clips[: min(SHOWN, len(clips))]
  others = np.roll(chosen, -1, axis=0)
  moving = {
    "motion of": unit_range(context, chosen),
    "content of": unit_range(context, np.repeat(others[:, :1], chosen.shape[1], axis=1)),
    "together": unit_range(context, swap(variables, others, chosen)),
  }
  captions = [f"frame {t + 1}" for t in range(chosen.shape[1])]
  animated = pictures.gif(pictures.animation(moving, captions))
  return (
    Media("grid.png", "the content of each row in the pose of each column (true frames at the edges)", grid),
    Media("clips.gif", "the motion of the upper clips with the content of those below them", animated),
  )


def judged(
  context: Context, swap: Any, test: Mapping[str, np.ndarray], truth: Truth
) -> tuple[list[Score], dict[str, Outcomes]]:
  """The judge's scores on real and on swapped clips, one value a seed, and what single clips gave."""
  key, variables = context.representation.input, context.representation.variables
  net = judges.Judge(truth.classes, truth.numbers)
  count = min(len(test[key]), context.settings.pairs)
  clips = test[key][:count]
  run = jax.jit(net.apply)
  size = context.config.batch_size
  others = np.roll(np.arange(count), 1)
  swapped = np.concatenate([
    np.asarray(swap(variables, clips[i : i + size], clips[others][i : i + size]))
    for i in range(0, count, size)
  ])
  of_seed = []
  for seed in context.seeds:
    context.say(f"a judge of real clips, seed {seed}")
    shuffled = batches.for_training(
      context.run, context.representation.reads, [*truth.classes, *truth.numbers]
    )
    params = judges.train(
      net, shuffled, key, truth.scale, context.settings.judge_steps, seed, context.say
    )
    of_seed.append({
      name: _judge(run, params, given, size) for name, given in (("real", clips), ("swapped", swapped))
    })
  people = people_in(context.test, context.config.identity)
  scores, outcomes = [], {}
  for label in (*truth.classes, *truth.numbers):
    moves = label in truth.motion
    own = np.arange(count)
    rows_of = {REAL: own, MOTION: others, LEFT: own} if moves else {REAL: own, CONTENT: own}
    for what, rows in rows_of.items():
      name = "real" if what == REAL else "swapped"
      wanted = test[label][:count][rows]
      runs = [_scores(outputs[name][label], wanted, truth, label) for outputs in of_seed]
      given = {}
      if label in truth.classes:
        right = np.stack([outputs[name][label].argmax(axis=1) == wanted for outputs in of_seed])[:, None]
        who = None if people is None else people[rows]  # is in the clip whose label is wanted
        given = {"accuracy": records.outcomes_of(right, wanted[None], people=who)}
      named, used = records.with_outcomes(_records(label.removeprefix("label/"), what, runs), given)
      scores += named
      outcomes |= used
  return scores, outcomes


def _judge(run: Any, params: dict, clips: Float[np.ndarray, "N T S S C"], size: int) -> dict:
  parts = [jax.device_get(run(params, clips[i : i + size])) for i in range(0, len(clips), size)]
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _scores(
  outputs: np.ndarray, wanted: np.ndarray, truth: Truth, label: str
) -> dict[str, float]:
  if label in truth.numbers:
    error = outputs * truth.scale[label] - wanted.reshape(outputs.shape)
    return {"mean_distance": float(np.abs(error).mean())}
  accuracy = float((outputs.argmax(axis=1) == wanted).mean())
  return {"accuracy": accuracy, **judges.entropies(softmax(outputs))}


def _records(label: str, what: str, runs: list[dict[str, float]]) -> list[Score]:
  better = {"accuracy": "higher", "mean_distance": "lower", "inception_score": "higher"}
  better = {} if what == LEFT else better
  headlines = {"accuracy": f"{label}, {what}, accuracy"} if what in (CONTENT, MOTION) else {}
  scores = records.of_runs("swaps", label, what, runs, headlines=headlines)
  return [score._replace(direction=better.get(score.metric, "")) for score in scores]


def jobs(context: Context) -> Iterator[Job]:
  """One, for a method that takes content and pose apart."""
  method = context.representation.method
  if method is not None and method.swap is not None and context.representation.input == "clip":
    yield "swaps", lambda: swaps(context)


TASK = Task(jobs, defaults, order=90)
