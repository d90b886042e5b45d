"""Classification with encoders that are trained on.

One linear layer on all feature blocks is trained, and the encoders below it. As the published probe
(cross-entropy, Adam at 2e-4), but nothing is frozen. What `linear` reports for the same labels is the frozen
half of the comparison.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.evaluation import batches, records
from pdr_jax.evaluation.features import (
    absent,
    class_count,
    classified,
    of_encoder,
    people_in,
    select,
    size,
)
from pdr_jax.evaluation.probes.descent import minimise, partitioned, trained
from pdr_jax.evaluation.probes.linear_maps import softmax
from pdr_jax.evaluation.records import Result
from pdr_jax.evaluation.representations import Representation
from pdr_jax.evaluation.task import ATTRIBUTES, Context, Job, Task, attributes, classes
from pdr_jax.evaluation.tasks.linear import MAJORITY
from pdr_jax.metrics.classification import classification
from pdr_jax.training import step as steps

LEARNING_RATE = 2e-4


def defaults() -> dict[str, Any]:
  """The section of the evaluation's configuration."""
  return dict(
      steps=2_000,  # of training of encoders and linear layer, for each seed
  )


class Layer(NamedTuple):
  """The linear layer on all features.

  Attributes:
    labels: what it says.
    inputs: numbers of the features.
    outputs: its logits.
    exclusive: whether they are the classes of one label; otherwise each is an attribute of 0 and 1.
  """

  labels: tuple[str, ...]
  inputs: int
  outputs: int
  exclusive: bool


def finetune(context: Context, labels: Sequence[str]) -> Result:
  """One label of several classes through a softmax, or attributes of 0 and 1 each through a sigmoid.

  Of the features in `context`, the labels are read and how wide the features are; its settings have the
  `steps` of training. Scores are `finetuned/METRIC` of `metrics.classification`, for attributes the mean over
  them. Raises `UserError` as `linear` does.
  """
  run, representation, test = context.run, context.representation, context.test
  known, tested = classified(context.train, test, labels)
  counts = [class_count(name, known, tested) for name in labels]
  if len(labels) > 1 and max(counts) > 2:
    label = labels[int(np.argmax(counts))]
    raise UserError(f"label {label!r} has more than two classes: name it alone, as a multi-class label")
  exclusive = counts[0] > 2
  inputs = select(known, of_encoder(known.blocks)).shape[1]
  layer = Layer(tuple(labels), inputs, counts[0] if exclusive else len(labels), exclusive)
  truth = np.stack([test.labels[name] for name in labels], axis=1)
  usable = ~np.stack([absent(test, name) for name in labels], axis=1).any(axis=1)
  title, runs, right = labels[0] if exclusive else ATTRIBUTES, [], []
  for seed in context.seeds:
    context.say(f"  fine-tuning for {title}, seed {seed}")
    params = fit(run, representation, layer, context.settings.steps, seed, context.say)
    logits = logits_of(run, representation, params, context.test_split)
    runs.append(_score(logits[usable], truth[usable], exclusive))
    decided = logits.argmax(axis=1)[:, None] if exclusive else logits > 0
    right.append((decided == truth)[usable].T)
  common = np.stack([np.bincount(known.labels[name]).argmax() for name in labels])
  majority = float(np.mean(truth[usable] == common[None]))
  titles = {"accuracy": f"{title}, fine-tuned, accuracy"}
  scores = records.of_runs("finetune", title, "all", runs, prefix="finetuned/", headlines=titles)
  people = people_in(tested, context.config.identity)
  given = {"accuracy": records.outcomes_of(np.stack(right), truth[usable].T, people=people)}
  scores, outcomes = records.with_outcomes(scores, given)
  scores += records.of_runs("finetune", title, MAJORITY, [{"accuracy": majority}], direction="")
  kind = "multi-class" if exclusive else "multi-label"
  protocol = {
      "description": f"classification with encoders trained on, {kind}",
      "labels": list(labels),
      "train": size(known),
      "test": int(usable.sum()),
      "seeds": list(context.seeds),
      "steps": context.settings.steps,
      "batch_size": run.train.batch_size,
      "solvers": f"Adam {LEARNING_RATE:g} on encoders and one linear layer",
      "selection": "none: the last step",
  }
  return Result(f"finetune/{title}", protocol, tuple(scores), outcomes=outcomes)


def fit(
    run: ConfigDict,
    representation: Representation,
    layer: Layer,
    count: int,
    seed: int,
    say: Callable[[str], None],
) -> dict:
  """`{"networks": ..., "kernel": [D, outputs], "bias": [outputs]}` after `count` steps.

  The layer starts as PyTorch's does.
  """
  run = ConfigDict(run.to_dict())
  run.seed = seed
  shape, labels = (layer.inputs, layer.outputs), layer.labels
  kernel = jax.random.uniform(jax.random.key(seed), shape, minval=-1, maxval=1) / layer.inputs**0.5
  params = {"networks": representation.variables, "kernel": kernel, "bias": jnp.zeros(layer.outputs)}

  def objective(params: dict, batch: dict) -> tuple[Array, Array]:
    truth = jnp.stack([batch[f"label/{name}"] for name in labels], axis=1)
    absent = [batch[f"missing/{name}"] for name in labels if f"missing/{name}" in batch]
    usable = jnp.ones(len(truth)) if not absent else 1.0 - jnp.stack(absent).any(axis=0)
    logits = apply(representation, params, batch[representation.input])
    losses = _losses(logits, jnp.where(usable[:, None] > 0, truth, 0), layer.exclusive)
    return (losses * usable).sum(), usable.sum()

  keys = [f"{kind}/{name}" for kind in ("label", "missing") for name in labels]
  tx = partitioned(
      optax.adam(LEARNING_RATE),
      {"networks": trained(representation.variables), "kernel": "trained", "bias": "trained"},
  )
  shuffled = batches.for_training(run, representation.reads, keys)
  return minimise(objective, params, shuffled, tx, count, say)


def _losses(
    logits: Float[Array, "B outputs"], truth: Int[Array, "B labels"], exclusive: bool
) -> Float[Array, " B"]:
  """Cross-entropy of each example."""
  if exclusive:
    return optax.softmax_cross_entropy_with_integer_labels(logits, truth[:, 0])
  return optax.sigmoid_binary_cross_entropy(logits, truth.astype(jnp.float32)).mean(axis=1)


def apply(
    representation: Representation, params: dict, inputs: Float[Array, "B ..."]
) -> Float[Array, "B outputs"]:
  """Logits of the linear layer on all blocks side by side."""
  blocks = representation.method.encode(params["networks"], inputs)
  blocks = [blocks[name].reshape(inputs.shape[0], -1) for name in sorted(blocks)]
  return jnp.concatenate(blocks, axis=1) @ params["kernel"] + params["bias"][None]


def logits_of(
    run: ConfigDict, representation: Representation, params: dict, split: str
) -> Float[np.ndarray, "N outputs"]:
  """Logits of a split's pictures, in its order."""
  key = representation.input
  predict, each = steps.mapped(functools.partial(apply, representation), params), []
  for batch in batches.of_split(run, representation.reads, split, ()):
    each.append(predict(np.asarray(batch[key]))[np.asarray(batch["_mask"]) > 0])
  return np.concatenate(each)


def _score(
    logits: Float[np.ndarray, "N outputs"], truth: Int[np.ndarray, "N labels"], exclusive: bool
) -> dict[str, float]:
  if exclusive:
    return classification(truth[:, 0], logits.argmax(axis=1), softmax(logits))
  pairs = zip(truth.T, logits.T, strict=True)
  each = [classification(column, (values > 0).astype(np.int32), values[:, None]) for column, values in pairs]
  return {key: float(np.mean([scores[key] for scores in each])) for key in each[0]}


def jobs(context: Context) -> Iterator[Job]:
  """One for each label of several classes, and one for all attributes, for a representation with networks."""
  if context.representation.variables is None:
    return

  for name in classes(context):
    yield f"finetune/{name}", lambda name=name: finetune(context, [name])
  if attributes(context):
    yield f"finetune/{ATTRIBUTES}", lambda: finetune(context, attributes(context))


TASK = Task(jobs, defaults, order=90, by_default=False)
