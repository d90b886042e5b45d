"""Segmentation: a U-Net whose encoder is the depth encoder, the albedo encoder or both; from scratch, frozen, fine-tuned.

The one task that reads images and not features: cross-entropy over pixels, Adam at 2e-4 (the published protocol), and scores over the whole
test split from one summed confusion matrix.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int
from ml_collections import ConfigDict

from pdr_jax.data import pipeline
from pdr_jax.errors import UserError
from pdr_jax.evaluation import metrics, unet
from pdr_jax.evaluation.descent import minimise, run_once
from pdr_jax.evaluation.sources import Source
from pdr_jax.training import step as steps

IGNORED = 255  # in the maps of classes: pixels that nobody named
STARTS = ("scratch", "frozen", "finetuned")
LEARNING_RATE = 2e-4


def segmentation(
    run: ConfigDict, source: Source, split: str, settings: ConfigDict, *, seeds: Sequence[int], say: Callable[[str], None] = print
) -> dict:
  """Every choice of encoders with every start, for each seed (fresh parameters, order of the images).

  Args:
    run: the data, with `segmentation` `[H, W]` maps (255: not named), and the batch size.
    split: what is tested on.
    settings: `steps` of training, and which of `STARTS`.

  Returns `{task, protocol, results}`; `results[encoders and start]` has `scores` (mIoU over the classes that occur in the test split, pixel
  accuracy) over the seeds, and `labels`, the IoU of each class. Raises `UserError` without maps, or for a source without map encoders.
  """
  encoders = unet.map_encoders(source.params or {})
  if not encoders:
    raise UserError(f"{source.name} features come from no map encoder that a U-Net could start from")
  classes, names = class_names(run)
  results = {}
  for chosen in subsets(sorted(encoders)):
    for start in settings.starts:
      if start not in STARTS:
        raise UserError(f"config.segmentation.starts: {start!r} is unknown; choose from {', '.join(STARTS)}")
      row = f"{'+'.join(chosen)} {start}"
      runs = []
      for seed in seeds:
        say(f"  segmentation, {row}, seed {seed}")
        params = train(run, {name: encoders[name] for name in chosen}, classes, start, settings.steps, seed, say)
        runs.append(metrics.segmentation(test(run, params, classes, split)))
      ious = {names[k]: [one["iou"][k] for one in runs] for k in range(classes) if runs[0]["iou"][k] is not None}
      results[row] = {"scores": metrics.over_seeds([{key: one[key] for key in ("miou", "pixel_accuracy")} for one in runs]),
                      "labels": {name: metrics.over_seeds([{"iou": value} for value in values]) for name, values in ious.items()}}
  data = pipeline.describe(run)
  return {
      "task": "segmentation",
      "protocol": {
          "classes": list(names), "train": data.train_size, "test": int(dict(data.tests).get(split, data.validation_size)),
          "seeds": list(seeds), "steps": settings.steps, "batch_size": run.train.batch_size, "ignored": IGNORED,
          "selection": "none: the last step",
          "solvers": f"U-Net, cross-entropy, Adam {LEARNING_RATE:g}; encoders fresh (scratch), kept (frozen) or trained on (finetuned)",
      },
      "results": results,
  }


def subsets(encoders: Sequence[str]) -> list[tuple[str, ...]]:
  """Each encoder alone, and all together where there are several."""
  return [(name,) for name in encoders] + ([tuple(encoders)] if len(encoders) > 1 else [])


def class_names(run: ConfigDict) -> tuple[int, tuple[str, ...]]:
  """How many classes the training maps have, and their names. Raises `UserError` where the data has no maps."""
  named = pipeline.describe(run).classes.get("segmentation", ())
  largest = -1
  for batch in pipeline.validation_batches(run, split="train"):
    if "segmentation" not in batch:
      raise UserError("the data has no maps of classes (segmentation)")
    if named:
      break
    known = np.asarray(batch["segmentation"])
    largest = max(largest, int(known[known != IGNORED].max(initial=-1)))
  names = tuple(named) or tuple(map(str, range(largest + 1)))
  if len(names) < 2:
    raise UserError("the maps of classes (segmentation) name fewer than two classes: there is nothing to tell apart")
  return len(names), names


def train(
    run: ConfigDict, encoders: dict[str, dict], classes: int, start: str, count: int, seed: int, say: Callable[[str], None]
) -> dict:
  """The U-Net's parameters after `count` steps from one of `STARTS`."""
  run = ConfigDict(run.to_dict())
  run.seed = seed
  init = lambda rng, encoders: unet.init(rng, encoders, classes, run.data.side, fresh=start == "scratch")
  params = run_once(init, jax.random.key(seed), encoders)
  part = {"encoders": "kept" if start == "frozen" else "trained", "expanding": "trained"}
  tx = optax.partition({"trained": optax.adam(LEARNING_RATE), "kept": optax.set_to_zero()}, part)
  objective = lambda params, batch: cross_entropy(params, batch, classes, start == "frozen")
  return minimise(objective, params, pipeline.train_iterator(run, image_only=False), tx, count, say)


def cross_entropy(params: dict, batch: dict, classes: int, frozen: bool) -> tuple[Array, Array]:
  """Nats summed over the named pixels, and their number."""
  truth = batch["segmentation"].astype(jnp.int32)
  known = (truth < classes).astype(jnp.float32)
  losses = optax.softmax_cross_entropy_with_integer_labels(unet.apply(params, batch["image"], classes, frozen=frozen),
                                                           jnp.minimum(truth, classes - 1))
  return (losses * known).sum(), known.sum()


def test(run: ConfigDict, params: dict, classes: int, split: str) -> Int[np.ndarray, "C C"]:
  """The confusion matrix of all pixels of a split."""
  predict = jax.pmap(lambda params, images: unet.apply(params, images, classes).argmax(axis=-1).astype(jnp.uint8), in_axes=(None, 0))
  params, counts = steps.replicate(params), np.zeros((classes, classes), np.int64)
  for batch in pipeline.validation_batches(run, split=split):
    keep = np.asarray(batch["_mask"]) > 0
    found = np.asarray(predict(params, steps.place({"image": batch["image"]})["image"]))
    truth = np.asarray(batch["segmentation"]).astype(np.int64)
    truth = np.where(truth < classes, truth, -1)
    counts += metrics.confusion(truth[keep], found.reshape(truth.shape)[keep].astype(np.int64), classes)
  return counts

