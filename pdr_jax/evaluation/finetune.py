"""Classification with encoders that are trained on: one linear layer on all feature blocks, and the encoders below it.

As the published probe (cross-entropy, Adam at 2e-4), but nothing is frozen. What `linear` reports for the same labels is the frozen half of
the comparison.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from pdr_jax.data import pipeline
from pdr_jax.errors import UserError
from pdr_jax.evaluation import metrics
from pdr_jax.evaluation.descent import minimise
from pdr_jax.evaluation.features import Features, class_count, classified, select, size
from pdr_jax.evaluation.sources import Source
from pdr_jax.training import step as steps

LEARNING_RATE = 2e-4


def finetune(
    run: ConfigDict, source: Source, train: Features, test: Features, split: str, labels: Sequence[str], settings: ConfigDict, *,
    seeds: Sequence[int], say: Callable[[str], None] = print,
) -> dict:
  """One label of several classes through a softmax, or attributes of 0 and 1 each through a sigmoid.

  Args:
    run: the data, and the batch size.
    train, test: features and labels of the splits; of them the labels are read, and how wide the features are.
    split: the name of the test split.
    settings: `steps` of training.

  Returns `{task, protocol, majority, results}`; `results["all"]["finetuned"]["scores"]` is `metrics.classification` over the seeds, for
  attributes its mean over them. Raises `UserError` as `linear`.
  """
  known, tested = classified(train, test, labels)
  counts = [class_count(name, known, tested) for name in labels]
  if len(labels) > 1 and max(counts) > 2:
    raise UserError(f"label {labels[int(np.argmax(counts))]!r} has more than two classes: name it alone, as a multi-class label")
  exclusive = counts[0] > 2
  outputs = counts[0] if exclusive else len(labels)
  width = select(train, tuple(train.blocks)).shape[1]
  truth = np.stack([test.labels[name] for name in labels], axis=1)
  usable, runs = (truth >= 0).all(axis=1), []
  for seed in seeds:
    say(f"  fine-tuning for {labels[0] if exclusive else 'attributes'}, seed {seed}")
    params = fit(run, source, labels, outputs, width, exclusive, settings.steps, seed, say)
    runs.append(_score(logits_of(run, source, params, split)[usable], truth[usable], exclusive))
  first = np.stack([known.labels[name] for name in labels], axis=1)
  common = np.stack([np.bincount(column).argmax() for column in first.T])
  return {
      "task": f"classification with encoders trained on, {'multi-class' if exclusive else 'multi-label'}",
      "protocol": {"labels": list(labels), "train": size(known), "test": int(usable.sum()), "seeds": list(seeds), "steps": settings.steps,
                   "batch_size": run.train.batch_size, "solvers": f"Adam {LEARNING_RATE:g} on encoders and one linear layer",
                   "selection": "none: the last step"},
      "majority": float(np.mean(truth[usable] == common[None])),
      "results": {"all": {"finetuned": {"scores": metrics.over_seeds(runs)}}},
  }


def fit(
    run: ConfigDict, source: Source, labels: Sequence[str], outputs: int, width: int, exclusive: bool, count: int, seed: int,
    say: Callable[[str], None],
) -> dict:
  """`{"networks": ..., "kernel": [D, outputs], "bias": [outputs]}` after `count` steps; the layer starts as PyTorch's does."""
  run = ConfigDict(run.to_dict())
  run.seed = seed
  kernel = jax.random.uniform(jax.random.key(seed), (width, outputs), minval=-1, maxval=1) / width**0.5
  params = {"networks": source.params, "kernel": kernel, "bias": jnp.zeros(outputs)}

  def objective(params, batch):
    truth = jnp.stack([batch[f"label/{name}"] for name in labels], axis=1)
    found = apply(source, params, batch["image"])
    if exclusive:
      losses = optax.softmax_cross_entropy_with_integer_labels(found, jnp.maximum(truth[:, 0], 0))
    else:
      losses = optax.sigmoid_binary_cross_entropy(found, truth.astype(jnp.float32)).mean(axis=1)
    usable = (truth >= 0).all(axis=1).astype(jnp.float32)
    return (losses * usable).sum(), usable.sum()

  return minimise(objective, params, pipeline.train_iterator(run, image_only=False), optax.adam(LEARNING_RATE), count, say)


def apply(source: Source, params: dict, images: Float[Array, "B S S 3"]) -> Float[Array, "B outputs"]:
  """Logits from all feature blocks, side by side."""
  blocks = source.system.encode(params["networks"], images)
  return jnp.concatenate([blocks[name] for name in sorted(blocks)], axis=1) @ params["kernel"] + params["bias"][None]


def logits_of(run: ConfigDict, source: Source, params: dict, split: str) -> Float[np.ndarray, "N outputs"]:
  """Logits of a split's images, in its order."""
  predict = jax.pmap(lambda params, images: apply(source, params, images), in_axes=(None, 0))
  params, found = steps.replicate(params), []
  for batch in pipeline.validation_batches(run, split=split):
    logits = np.asarray(predict(params, steps.place({"image": batch["image"]})["image"]))
    found.append(logits.reshape(-1, logits.shape[-1])[np.asarray(batch["_mask"]) > 0])
  return np.concatenate(found)


def _score(logits: Float[np.ndarray, "N outputs"], truth: np.ndarray, exclusive: bool) -> dict[str, float]:
  if exclusive:
    return metrics.classification(truth[:, 0], logits.argmax(axis=1), np.asarray(jax.nn.softmax(logits, axis=1)))
  pairs = zip(truth.T, logits.T, strict=True)
  each = [metrics.classification(column, (found > 0).astype(np.int32), found[:, None]) for column, found in pairs]
  return {key: float(np.mean([one[key] for one in each])) for key in each[0]}
