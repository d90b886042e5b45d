"""Segmentation: a U-Net on a method's feature maps, its encoders from scratch, frozen, fine-tuned.

It reads images and not features: cross-entropy over pixels, Adam at 2e-4 (the published protocol), and scores
over the whole test split from one summed confusion matrix.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Integer
from ml_collections import ConfigDict

from pdr_jax.data import pipeline
from pdr_jax.elements import zeros
from pdr_jax.errors import UserError
from pdr_jax.evaluation import batches, records
from pdr_jax.evaluation.features import people_in
from pdr_jax.evaluation.probes import unet
from pdr_jax.evaluation.probes.descent import minimise, partitioned, run_once, trained
from pdr_jax.evaluation.records import Outcomes, Result, Score
from pdr_jax.evaluation.representations import Representation
from pdr_jax.evaluation.task import Context, Job, Task
from pdr_jax.metrics.classification import confusion
from pdr_jax.metrics.segmentation import segmentation as scores_of
from pdr_jax.training import step as steps

MAPS = "segmentation"  # the batch key of the maps of classes
IGNORED = 255  # in the maps: pixels that nobody named
STARTS = ("scratch", "frozen", "finetuned")
LEARNING_RATE = 2e-4


def defaults() -> dict[str, Any]:
  """The section of the evaluation's configuration."""
  return dict(
      steps=2_000,  # of training, for each choice of encoders, start and seed
      starts=STARTS,
  )


class Choice(NamedTuple):
  """Which encoders a U-Net is built on, from which of `STARTS`, and how many classes it tells apart."""

  encoders: tuple[str, ...]
  start: str
  classes: int


def segmentation(
    run: ConfigDict,
    representation: Representation,
    split: str,
    settings: ConfigDict,
    *,
    seeds: Sequence[int],
    say: Callable[[str], None] = print,
    people: Int[np.ndarray, " N"] | None = None,
) -> Result:
  """Every choice of encoders with every start, for each seed (fresh parameters, order of the images).

  Args:
    run: the data, with `segmentation` `[H, W]` maps (255: not named), and the batch size.
    split: what is tested on.
    settings: `steps` of training, and which of `STARTS`.
    people: who is on each picture of the split, see `records.outcomes_of`.

  Scores are `START/miou` (over the classes that occur in the test split) and `START/pixel_accuracy`; the IoU
  of each class is in `details["iou"]`. Raises `UserError` without maps, or for a representation that a U-Net
  cannot start from.
  """
  encoders = _encoders(representation)
  unknown = [start for start in settings.starts if start not in STARTS]
  if unknown:
    raise UserError(
        f"config.segmentation.starts: {unknown[0]!r} is unknown; choose from {', '.join(STARTS)}"
    )
  count, names = class_names(run, representation)
  scores: list[Score] = []
  outcomes: dict[str, Outcomes] = {}
  ious: dict[str, dict[str, list[float]]] = {}
  for chosen in subsets(encoders):
    block = "+".join(chosen)
    for start in settings.starts:
      counts, choice = [], Choice(chosen, start, count)
      for seed in seeds:
        say(f"  segmentation, {block} {start}, seed {seed}")
        params = train(run, representation, choice, settings.steps, seed, say)
        counts.append(test(run, representation, choice, params, split))
      runs = [scores_of(each.sum(axis=0)) for each in counts]
      titles = {"miou": f"segmentation, {start}, mIoU"} if len(chosen) == len(encoders) else {}
      means = [{name: run[name] for name in ("miou", "pixel_accuracy")} for run in runs]
      named, used = records.with_outcomes(
          records.of_runs(MAPS, "classes", block, means, prefix=f"{start}/", headlines=titles),
          {"miou": of_pictures(np.stack(counts), people)} if titles else {},
      )
      scores += named
      outcomes |= used
      ious[f"{block} {start}"] = {
          names[k]: [run["iou"][k] for run in runs] for k in range(count) if runs[0]["iou"][k] is not None
      }
  data = pipeline.describe(run)
  protocol = {
      "description": "segmentation",
      "classes": list(names),
      "train": data.train_size,
      "test": int(dict(data.tests).get(split, data.validation_size)),
      "seeds": list(seeds),
      "steps": settings.steps,
      "batch_size": run.train.batch_size,
      "ignored": IGNORED,
      "selection": "none: the last step",
      "solvers": f"U-Net, cross-entropy, Adam {LEARNING_RATE:g}; encoders fresh (scratch), kept (frozen) or "
                 "trained on (finetuned)",
  }
  return Result(MAPS, protocol, tuple(scores), {"iou": ious}, outcomes=outcomes)


def of_pictures(
    counts: Int[np.ndarray, "S N C C"], people: Int[np.ndarray, " N"] | None = None
) -> Outcomes:
  """The pixels of each class in each picture that mIoU is made of, see `metrics.resampled.miou`."""
  right, true = np.diagonal(counts, axis1=2, axis2=3), counts.sum(axis=3)
  parts = np.concatenate([right, true + counts.sum(axis=2) - right], axis=2)  # [S N 2C]
  values, truth = parts.transpose(0, 2, 1).astype(np.int32), true[0].T.astype(np.int32)
  return records.outcomes_of(values, truth, people=people, measure="miou")


def _encoders(representation: Representation) -> list[str]:
  images = zeros(representation.reads, 1)[representation.input]
  names = []
  if images.ndim == 4:
    names = unet.encoders(representation.method, representation.variables, images)
  if not names:
    raise UserError(f"{representation.name} features come from no feature maps that a U-Net could start from")
  return names


def subsets(encoders: Sequence[str]) -> list[tuple[str, ...]]:
  """Each encoder alone, and all together where there are several."""
  return [(name,) for name in encoders] + ([tuple(encoders)] if len(encoders) > 1 else [])


def class_names(run: ConfigDict, representation: Representation) -> tuple[int, tuple[str, ...]]:
  """How many classes the training maps have, and their names.

  Raises `UserError` where the data has no maps.
  """
  if MAPS not in pipeline.published(run, representation.reads):
    raise UserError("the data has no maps of classes (segmentation)")
  names = tuple(pipeline.describe(run).classes.get(MAPS, ()))
  if not names:
    largest = -1
    for batch in batches.of_split(run, representation.reads, "train", [MAPS]):
      known = np.asarray(batch[MAPS])
      largest = max(largest, int(known[known != IGNORED].max(initial=-1)))
    names = tuple(map(str, range(largest + 1)))
  if len(names) < 2:
    raise UserError(
        "the maps of classes (segmentation) name fewer than two classes: there is nothing to tell apart"
    )
  return len(names), names


def train(
    run: ConfigDict,
    representation: Representation,
    choice: Choice,
    count: int,
    seed: int,
    say: Callable[[str], None],
) -> dict:
  """The U-Net's parameters after `count` steps."""
  run = ConfigDict(run.to_dict())
  run.seed = seed
  rng, variables = jax.random.key(seed), representation.variables
  if choice.start == "scratch":
    variables = run_once(representation.fresh, jax.random.fold_in(rng, 1))
  method, images = representation.method, zeros(representation.reads, 1)[representation.input]

  def init(rng: Array, variables: dict) -> dict:
    return unet.init(rng, method, variables, choice.encoders, choice.classes, images)

  params = run_once(init, rng, variables)
  frozen = choice.start == "frozen"
  labels = {"encoders": trained(variables, "kept" if frozen else "trained"), "expanding": "trained"}

  def objective(params: dict, batch: dict) -> tuple[Array, Array]:
    inputs = batch[representation.input]
    logits = unet.apply(params, method, choice.encoders, inputs, choice.classes, frozen=frozen)
    return cross_entropy(logits, batch[MAPS])

  tx = partitioned(optax.adam(LEARNING_RATE), labels)
  shuffled = batches.for_training(run, representation.reads, [MAPS])
  return minimise(objective, params, shuffled, tx, count, say)


def cross_entropy(
    logits: Float[Array, "B H W classes"], maps: Integer[Array | np.ndarray, "B H W"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """Nats summed over the named pixels, and their number."""
  truth, classes = jnp.asarray(maps, jnp.int32), logits.shape[-1]
  known = (truth < classes).astype(jnp.float32)
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.minimum(truth, classes - 1))
  return (losses * known).sum(), known.sum()


def test(
    run: ConfigDict, representation: Representation, choice: Choice, params: dict, split: str
) -> Int[np.ndarray, "N {choice.classes} {choice.classes}"]:
  """The confusion matrix of the pixels of each picture of a split."""
  method, key, classes = representation.method, representation.input, choice.classes

  def classify(params: dict, images: Array) -> Array:
    return unet.apply(params, method, choice.encoders, images, classes).argmax(axis=-1).astype(jnp.uint8)

  predict, counts = steps.mapped(classify, params), []
  for batch in batches.of_split(run, representation.reads, split, [MAPS]):
    keep = np.asarray(batch["_mask"]) > 0
    called = predict(np.asarray(batch[key]))
    truth = np.asarray(batch[MAPS]).astype(np.int64)
    truth = np.where(truth < classes, truth, -1)
    pairs = zip(truth[keep], called.reshape(truth.shape)[keep].astype(np.int64), strict=True)
    counts += [confusion(*pair, classes) for pair in pairs]
  return np.stack(counts)


def jobs(context: Context) -> Iterator[Job]:
  """One, for a representation with networks."""
  if context.representation.variables is not None:
    yield MAPS, lambda: segmentation(
        context.run, context.representation, context.test_split, context.settings,
        seeds=context.seeds, say=context.say, people=people_in(context.test, context.config.identity),
    )


TASK = Task(jobs, defaults, order=80)
